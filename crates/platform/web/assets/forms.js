// Forms that send JSON: `<form data-api="POST /api/…" data-next="/…" data-flash="…">`.

import { call } from "./api.js";
import { go, text } from "./dom.js";

export function wireForms() {
  for (const form of document.querySelectorAll("form[data-api]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form);
    });
    form.addEventListener("input", (event) => mark(event.target, ""));
  }
}

async function send(form) {
  const [method, path] = form.dataset.api.split(" ");
  const inputs = [...form.elements].filter((element) => element.name);
  const empty = inputs.filter((input) => input.required && !input.value.trim());
  inputs.forEach((input) => mark(input, empty.includes(input) ? text("required") : ""));
  showProblem(form, null);
  if (empty.length) return empty[0].focus();

  const body = Object.fromEntries(inputs.map((input) => [input.name, input.value]));
  // Behind the # a one-time token stays in the browser until it is used.
  if ("tokenFromAddress" in form.dataset) body.token = location.hash.slice(1);
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  form.setAttribute("aria-busy", "true");
  const answer = await call(method, path, body);
  button.disabled = false;
  form.removeAttribute("aria-busy");
  if (answer.ok) return go(form.dataset.next, form.dataset.flash);

  const errors = answer.body.errors ?? [];
  const marked = errors.filter(({ field, message }) => mark(form.elements[field], message));
  if (marked.length) form.elements[marked[0].field].focus();
  else showProblem(form, answer.body);
}

/** Says below an input what is wrong with it. */
export function mark(input, message) {
  const place = input && document.getElementById(`${input.name}-error`);
  if (!place) return false;
  place.textContent = message;
  if (message) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  return true;
}

export function showProblem(form, problem) {
  const place = form.querySelector(".form-problem");
  place.hidden = !problem;
  place.querySelector("strong").textContent = problem?.title ?? "";
  place.querySelector("p").textContent = problem?.detail ?? "";
}

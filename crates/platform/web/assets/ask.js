// Buttons that ask for a reason, or another line of text, before they do something:
// `<button data-ask="POST /api/…" data-question="…?" [data-field="note"] [data-needed]>`.

import { call } from "./api.js";
import { go, text, toast } from "./dom.js";

export function wireAsking() {
  for (const button of document.querySelectorAll("[data-ask]")) {
    button.addEventListener("click", () => ask(button));
  }
}

function ask(button) {
  const dialog = document.getElementById("ask");
  const input = document.getElementById("ask-text");
  const error = document.getElementById("ask-error");
  document.getElementById("ask-question").textContent = button.dataset.question;
  input.value = button.dataset.value ?? "";
  error.textContent = "";
  const submit = async (event) => {
    event.preventDefault();
    if ("needed" in button.dataset && !input.value.trim()) {
      error.textContent = text("required");
      return input.focus();
    }
    const [method, path] = button.dataset.ask.split(" ");
    button.disabled = true;
    const answer = await call(method, path, { [button.dataset.field ?? "reason"]: input.value });
    button.disabled = false;
    const problem = answer.ok ? null : answer.body;
    if (problem?.errors) {
      error.textContent = problem.errors.map(({ message }) => message).join(" ");
      return input.focus();
    }
    dialog.close();
    if (problem) return toast([problem.title, problem.detail].filter(Boolean).join(" · "), "bad");
    go(location.pathname, text("done"));
  };
  const cancel = () => dialog.close();
  dialog.querySelector("form").addEventListener("submit", submit);
  dialog.querySelector("[data-no]").addEventListener("click", cancel);
  dialog.addEventListener(
    "close",
    () => {
      dialog.querySelector("form").removeEventListener("submit", submit);
      dialog.querySelector("[data-no]").removeEventListener("click", cancel);
    },
    { once: true },
  );
  dialog.showModal();
  input.focus();
}

// Tests of connections: `<button data-test="/api/…" data-verdict="id">`.

import { call } from "./api.js";

export function wireTests() {
  for (const button of document.querySelectorAll("[data-test]")) {
    button.addEventListener("click", () => test(button, document.getElementById(button.dataset.verdict)));
  }
}

async function test(button, place) {
  button.disabled = true;
  place.setAttribute("aria-busy", "true");
  const answer = await call("POST", button.dataset.test, {});
  button.disabled = false;
  place.removeAttribute("aria-busy");
  const { ok, title, lines } = answer.ok ? answer.body : { ok: false, title: answer.body.title, lines: [answer.body.detail] };
  place.hidden = false;
  place.className = `notice ${ok ? "good" : "bad"}`;
  place.querySelector("strong").textContent = title;
  const items = lines.map((line) => Object.assign(document.createElement("li"), { textContent: line }));
  place.querySelector("ul").replaceChildren(...items);
}

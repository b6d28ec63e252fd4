// Passwords: shown on request, rated while typing.

import { call } from "./api.js";
import { text } from "./dom.js";

const PAUSE_MS = 250;

export function wirePasswords() {
  for (const button of document.querySelectorAll("[data-reveal]")) {
    button.addEventListener("click", () => {
      const input = document.getElementById(button.dataset.reveal);
      const hidden = input.type === "password";
      input.type = hidden ? "text" : "password";
      button.textContent = text(hidden ? "hide" : "show");
      button.setAttribute("aria-pressed", String(hidden));
    });
  }
  for (const input of document.querySelectorAll("[data-strength]")) wireStrength(input);
}

function wireStrength(input) {
  const place = document.getElementById("strength");
  const show = (rating) => {
    place.dataset.score = rating?.score ?? "";
    place.dataset.enough = rating?.enough ?? "";
    place.querySelector(".strength-word").textContent = rating?.word ?? "";
    place.querySelector(".strength-hint").textContent = rating?.hint ?? "";
  };
  let timer;
  let latest = 0;
  const rate = async () => {
    const number = ++latest;
    if (!input.value) return show(null);
    const others = ["username", "institution"].map((name) => input.form.elements[name]?.value).filter(Boolean);
    const answer = await call("POST", "/api/password-strength", { password: input.value, about: others });
    // Only the answer to what stands there now counts.
    if (number === latest) show(answer.ok ? answer.body : null);
  };
  input.form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(rate, PAUSE_MS);
  });
}

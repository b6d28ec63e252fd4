// Buttons that do something at once: `<button data-call="POST /api/…" data-confirm="…?">`.

import { call } from "./api.js";
import { go, localTime, text, toast } from "./dom.js";

export function wireActions() {
  for (const button of document.querySelectorAll("[data-call]")) {
    button.addEventListener("click", () => act(button));
  }
  document.querySelector("[data-copy]")?.addEventListener("click", copyLink);
}

async function act(button) {
  const { confirm, next, link, body } = button.dataset;
  if (confirm && !(await confirmed(confirm))) return;
  const [method, path] = button.dataset.call.split(" ");
  button.disabled = true;
  const answer = await call(method, path, body && JSON.parse(body));
  button.disabled = false;
  if (!answer.ok) return toast([answer.body.title, answer.body.detail].filter(Boolean).join(" · "), "bad");
  if (link) return showLink(document.getElementById(link), answer.body);
  go(next ?? location.pathname, confirm && text("done"));
}

/** Asks in a dialog; resolves to whether the answer was yes. */
export function confirmed(question) {
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-text").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

function showLink(dialog, { path, expires_at }) {
  dialog.querySelector("[data-link-address]").value = new URL(path, location.href).href;
  dialog.querySelector("[data-link-expires]").textContent = text("link.expires", { at: localTime(expires_at) });
  dialog.showModal();
  dialog.querySelector("[data-link-address]").select();
}

async function copyLink() {
  const input = document.querySelector("[data-link-address]");
  input.select();
  // Without https browsers keep the clipboard to themselves; what is selected can still be copied by hand.
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(input.value);
    toast(text("copied"));
  }
}

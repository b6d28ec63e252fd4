// Tables: finding rows, and the check of the audit log.

import { call } from "./api.js";
import { text } from "./dom.js";

export function wireTables() {
  for (const input of document.querySelectorAll("[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    const empty = document.querySelector(`[data-empty=${input.dataset.filter}]`);
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) row.hidden = !row.dataset.search.includes(wanted);
      empty.hidden = rows.some((row) => !row.hidden);
    });
  }
  for (const button of document.querySelectorAll("[data-verify]")) {
    button.addEventListener("click", () => verify(button, document.getElementById(button.dataset.verify)));
  }
}

async function verify(button, place) {
  button.disabled = true;
  const { ok, body } = await call("GET", "/api/audit/verification");
  button.disabled = false;
  const { entries, head, broken } = body;
  const sound = ok && !broken;
  place.hidden = false;
  place.className = `notice ${sound ? "good" : "bad"}`;
  const verdict = () => {
    if (!ok) return body.title;
    if (broken) return text("audit.broken", { entry: broken.entry, fault: text("fault." + broken.fault), entries });
    return text("audit.sound", { entries, head });
  };
  place.querySelector("strong").textContent = verdict();
}

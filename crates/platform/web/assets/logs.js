// The logs: the newest lines first, filtered by the server, asked for again while somebody looks.

import { call } from "./api.js";
import { localTime, text, toast } from "./dom.js";
import { chip, el } from "./make.js";

const AGAIN_MS = 3000;
const form = document.getElementById("log-filter");
const list = document.getElementById("lines");
const older = document.getElementById("older");
const CHIPS = { error: ["bad", "warning"], warn: ["wait", "warning"], info: ["", "info"], debug: ["", "off"], trace: ["", "off"] };
let next = null;
/** Whether only the newest lines are shown. */
let atTop = true;
let asked = 0;

function line({ at, level, text: words }) {
  return el(
    "li",
    { class: level },
    el("time", { datetime: at }, localTime(at)),
    chip(...CHIPS[level], text("logs.level." + level)),
    el("span", { class: "mono" }, words),
  );
}

async function load(before) {
  const { kind, level, q } = Object.fromEntries(new FormData(form));
  const query = new URLSearchParams({ kind, level, q });
  if (before) query.set("before", before);
  const number = ++asked;
  const answer = await call("GET", `/api/logs?${query}`);
  // Somebody has changed the filter meanwhile.
  if (number !== asked) return;
  if (!answer.ok) return toast([answer.body.title, answer.body.detail].filter(Boolean).join(" · "), "bad");
  const lines = answer.body.lines.map(line);
  if (before) list.append(...lines);
  else list.replaceChildren(...lines);
  next = answer.body.older;
  older.hidden = next === null;
  document.getElementById("no-lines").hidden = list.children.length > 0 || next !== null;
}

function reload() {
  atTop = true;
  return load(null);
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", reload);
older.addEventListener("click", () => {
  atTop = false;
  return load(next);
});
setInterval(() => form.elements.live.checked && atTop && !document.hidden && list.scrollTop === 0 && load(null), AGAIN_MS);
await reload();

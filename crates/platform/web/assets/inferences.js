// The queue of inferences: asking for some, and watching them.

import { call } from "./api.js";
import { confirmed } from "./actions.js";
import { localTime, text, toast } from "./dom.js";
import { subscribe } from "./live.js";
import { chip, el } from "./make.js";

const PAGE = 50;
const PROGRESS_MS = 1500;
const form = document.getElementById("new-inference");
const body = document.querySelector("#inferences tbody");
const older = document.getElementById("older");
const wanted = new Set(new URLSearchParams(location.search).getAll("scan").map(Number));
let models = [];
/** By id, as the server last told. */
const shown = new Map();

// ---------------------------------------------------------------- asking

async function loadChoices() {
  const [scans, known] = await Promise.all([call("GET", "/api/scans"), call("GET", "/api/models")]);
  const ready = scans.ok ? scans.body.scans : [];
  document.getElementById("no-scans").hidden = ready.length > 0;
  document.getElementById("scan-choices").replaceChildren(...ready.map(choice));
  models = known.ok ? known.body.versions : [];
  const select = document.getElementById("model");
  const name = (model) => (model.is_current ? text("inference.model.current", { version: `v${model.version}` }) : `v${model.version}`);
  const option = (model) => el("option", { value: model.version, selected: model.is_current }, name(model));
  select.replaceChildren(...(models.length ? models.map(option) : [el("option", { value: "" }, text("inference.model.none"))]));
  select.disabled = models.length === 0;
  noteModel();
  form.querySelector("[type=submit]").disabled = models.length === 0 || ready.length === 0;
}

function choice(scan) {
  const box = el("input", { type: "checkbox", name: "scan", value: scan.id, checked: wanted.has(scan.id) });
  const name = el("span", { class: "mono" }, scan.series_uid);
  return el("label", { class: "choice", "data-search": scan.series_uid.toLowerCase() }, box, name);
}

function noteModel() {
  const model = models.find((model) => String(model.version) === document.getElementById("model").value);
  document.getElementById("model-note").textContent = model?.note ?? "";
}

document.getElementById("model").addEventListener("change", noteModel);
document.getElementById("scan-search").addEventListener("input", (event) => {
  const sought = event.target.value.trim().toLowerCase();
  for (const label of document.querySelectorAll(".choice")) label.hidden = !label.dataset.search.includes(sought);
});
const threshold = document.getElementById("threshold");
threshold.addEventListener("input", () => (form.querySelector("output").value = Number(threshold.value).toFixed(2)));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const boxes = [...form.querySelectorAll("[name=scan]:checked")];
  const problem = form.querySelector(".form-problem");
  const say = (title, detail = "") => {
    problem.hidden = false;
    problem.querySelector("strong").textContent = title;
    problem.querySelector("p").textContent = detail;
  };
  problem.hidden = true;
  if (boxes.length === 0) return say(text("inference.choose"));
  const submit = form.querySelector("[type=submit]");
  submit.disabled = true;
  const answer = await call("POST", "/api/inferences", {
    scan_ids: boxes.map((box) => Number(box.value)),
    model_id: Number(document.getElementById("model").value),
    mode: form.elements.mode.value,
    threshold: Number(threshold.value),
  });
  submit.disabled = false;
  if (!answer.ok) return say(answer.body.title, answer.body.detail);
  for (const box of boxes) box.checked = false;
  toast(text("inference.queued", { count: answer.body.ids.length }));
  await refresh();
});

// ---------------------------------------------------------------- watching

/** Kind and drawing of each state. */
const CHIPS = { queued: ["", "clock"], running: ["wait", "clock"], done: ["good", "check"], failed: ["bad", "warning"], cancelled: ["", "off"] };

function state(inference) {
  const hint = (words) => el("span", { class: "hint" }, words);
  const parts = [chip(...CHIPS[inference.state], text("inference.state." + inference.state))];
  if (inference.state === "running" && inference.progress) {
    const { stage, done, total } = inference.progress;
    const name = text("inference.stage." + stage);
    const bar = el("progress", { max: Math.max(total, 1), value: done, "aria-label": name });
    parts.push(bar, hint(text("inference.progress", { stage: name, done, total })));
  }
  if (inference.state === "queued" && inference.waiting_before !== null) {
    parts.push(hint(text("inference.waiting", { count: inference.waiting_before })));
  }
  if (inference.failure) parts.push(hint(reason(inference.failure)));
  return parts;
}

/** A worker tells in its own words; what the server says is in the catalogue. */
function reason({ kind, message, advice }) {
  return message ? [message, advice].filter(Boolean).join(" ") : text("inference.failure." + kind);
}

function row(inference) {
  const { id, series_uid, model, mode, state: stands, tally, created_at } = inference;
  const cell = (label, ...content) => el("td", { "data-label": text(label) }, ...content);
  const name = stands === "done" ? el("a", { href: `/inferences/${id}`, class: "mono" }, series_uid) : el("span", { class: "mono" }, series_uid);
  const found = stands === "done" ? text("inference.tally", { all: tally[0], accepted: tally[1], rejected: tally[2] }) : "—";
  const actions = el("div", { class: "row-actions" });
  if (stands === "done") {
    actions.append(
      el("a", { class: "button small primary", href: `/inferences/${id}` }, text("inference.open")),
      el("a", { class: "button small", href: `/inferences/${id}/report` }, text("inference.report")),
    );
  }
  if (stands === "queued" || stands === "running") actions.append(button("inference.cancel", "POST", `/api/inferences/${id}/cancel`, "inference.cancel.sure"));
  else actions.append(button("inference.remove", "DELETE", `/api/inferences/${id}`, "inference.remove.sure"));
  return el(
    "tr",
    { "data-id": id },
    el("th", { scope: "row" }, name),
    cell("inference.column.state", ...state(inference)),
    cell("inference.column.model", model.version),
    cell("inference.column.mode", text("inference.mode." + mode)),
    cell("inference.column.findings", found),
    cell("inference.column.asked", el("time", { datetime: created_at }, localTime(created_at))),
    el("td", { class: "end" }, actions),
  );
}

function button(label, method, path, question) {
  const made = el("button", { type: "button", class: "button small danger" }, text(label));
  made.addEventListener("click", async () => {
    if (!(await confirmed(text(question)))) return;
    const answer = await call(method, path);
    if (!answer.ok) toast([answer.body.title, answer.body.detail].filter(Boolean).join(" · "), "bad");
    await refresh();
  });
  return made;
}

function draw() {
  const all = [...shown.values()].sort((a, b) => b.id - a.id);
  const focused = document.activeElement?.closest("tr")?.dataset.id;
  body.replaceChildren(...all.map(row));
  if (focused) body.querySelector(`tr[data-id="${focused}"] button, tr[data-id="${focused}"] a`)?.focus();
  document.getElementById("no-inferences").hidden = all.length > 0;
  const waiting = all.filter((inference) => inference.state === "queued").length;
  document.getElementById("queue-note").textContent = waiting ? text("inference.queue", { count: waiting }) : "";
}

/** What the newest page says; older pages that were asked for stay. */
async function refresh() {
  const answer = await call("GET", `/api/inferences?limit=${PAGE}`);
  if (!answer.ok) return toast(answer.body.title, "bad");
  const newest = answer.body.inferences;
  const least = newest.length === PAGE ? newest[PAGE - 1].id : 0;
  for (const id of shown.keys()) if (id >= least) shown.delete(id);
  for (const inference of newest) shown.set(inference.id, inference);
  if (shown.size === newest.length) older.hidden = newest.length < PAGE;
  draw();
}

older.addEventListener("click", async () => {
  const before = Math.min(...shown.keys());
  const answer = await call("GET", `/api/inferences?limit=${PAGE}&before=${before}`);
  if (!answer.ok) return toast(answer.body.title, "bad");
  for (const inference of answer.body.inferences) shown.set(inference.id, inference);
  older.hidden = answer.body.inferences.length < PAGE;
  draw();
});

for (const kind of ["queued", "started", "done", "ended", "removed", "reviewed"]) subscribe(`inference.${kind}`, refresh);
// Progress is not stored: it is asked for while something is being marked.
setInterval(() => [...shown.values()].some((inference) => inference.state === "running") && refresh(), PROGRESS_MS);

await Promise.all([loadChoices(), refresh()]);

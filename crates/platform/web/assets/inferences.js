// The queue of inferences: asking for some, and watching them.

import { call } from "./api.js";
import { confirmed } from "./actions.js";
import { localTime, text, toast } from "./dom.js";
import { subscribe } from "./live.js";

const PAGE = 50;
const form = document.getElementById("new-inference");
const body = document.querySelector("#inferences tbody");
const older = document.getElementById("older");
const wanted = new Set(new URLSearchParams(location.search).getAll("scan").map(Number));
let models = [];
/** By id, as the server last told. */
const shown = new Map();

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// ---------------------------------------------------------------- asking

async function loadChoices() {
  const [scans, known] = await Promise.all([call("GET", "/api/scans"), call("GET", "/api/models")]);
  const ready = scans.ok ? scans.body.scans : [];
  document.getElementById("no-scans").hidden = ready.length > 0;
  document.getElementById("scan-choices").replaceChildren(...ready.map(choice));
  models = known.ok ? known.body.models : [];
  const select = document.getElementById("model");
  const option = (model) =>
    make("option", { value: model.id, textContent: model.current ? text("inference.model.current", { version: model.version }) : model.version, selected: model.current });
  select.replaceChildren(...(models.length ? models.map(option) : [make("option", { value: "", textContent: text("inference.model.none") })]));
  select.disabled = models.length === 0;
  noteModel();
  form.querySelector("[type=submit]").disabled = models.length === 0 || ready.length === 0;
}

function choice(scan) {
  const box = make("input", { type: "checkbox", name: "scan", value: scan.id, checked: wanted.has(scan.id) });
  const picture = make("img", { src: `/api/scans/${scan.id}/thumbnail.png`, alt: "", loading: "lazy", width: 48, height: 48 });
  const [depth, height, width] = scan.shape_zyx;
  const about = make("span", { className: "hint", textContent: `${width} × ${height} × ${depth}` });
  const label = make("label", { className: "choice" }, box, picture, make("span", { className: "mono", textContent: scan.series_uid }), about);
  label.dataset.search = scan.series_uid.toLowerCase();
  return label;
}

function noteModel() {
  const model = models.find((model) => String(model.id) === document.getElementById("model").value);
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

const ICONS = { queued: "wait", running: "wait", done: "good", failed: "bad", cancelled: "" };

function state(inference) {
  const chip = make("span", { className: `chip ${ICONS[inference.state]}`, textContent: text("inference.state." + inference.state) });
  const parts = [chip];
  if (inference.state === "running" && inference.progress) {
    const { stage, done, total } = inference.progress;
    const bar = make("progress", { max: Math.max(total, 1), value: done });
    bar.setAttribute("aria-label", text("inference.stage." + stage));
    parts.push(bar, make("span", { className: "hint", textContent: text("inference.progress", { stage: text("inference.stage." + stage), done, total }) }));
  }
  if (inference.state === "queued" && inference.waiting_before !== null) {
    parts.push(make("span", { className: "hint", textContent: text("inference.waiting", { count: inference.waiting_before }) }));
  }
  if (inference.failure) parts.push(make("span", { className: "hint", textContent: reason(inference.failure) }));
  return parts;
}

/** A worker tells in its own words; what the server says is in the catalogue. */
function reason({ kind, message, advice }) {
  return message ? [message, advice].filter(Boolean).join(" ") : text("inference.failure." + kind);
}

function row(inference) {
  const { id, series_uid, model, mode, state: stands, tally, created_at } = inference;
  const cell = (label, ...content) => {
    const made = make("td", {}, ...content);
    made.dataset.label = text(label);
    return made;
  };
  const name = stands === "done" ? make("a", { href: `/inferences/${id}`, className: "mono", textContent: series_uid }) : make("span", { className: "mono", textContent: series_uid });
  const found = stands === "done" ? text("inference.tally", { all: tally[0], accepted: tally[1], rejected: tally[2] }) : "—";
  const actions = make("div", { className: "row-actions" });
  if (stands === "done") {
    actions.append(
      make("a", { className: "button small primary", href: `/inferences/${id}`, textContent: text("inference.open") }),
      make("a", { className: "button small", href: `/inferences/${id}/report`, textContent: text("inference.report") }),
    );
  }
  if (stands === "queued" || stands === "running") actions.append(button("inference.cancel", "POST", `/api/inferences/${id}/cancel`, "inference.cancel.sure"));
  else actions.append(button("inference.remove", "DELETE", `/api/inferences/${id}`, "inference.remove.sure"));
  const head = make("th", { scope: "row" }, name);
  const asked = make("time", { dateTime: created_at, textContent: localTime(created_at) });
  const made = make(
    "tr",
    {},
    head,
    cell("inference.column.state", ...state(inference)),
    cell("inference.column.model", model.version),
    cell("inference.column.mode", text("inference.mode." + mode)),
    cell("inference.column.findings", found),
    cell("inference.column.asked", asked),
    make("td", { className: "end" }, actions),
  );
  made.dataset.id = id;
  return made;
}

function button(label, method, path, question) {
  const made = make("button", { type: "button", className: "button small danger", textContent: text(label) });
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
subscribe("inference.progress", ({ payload }) => {
  const inference = shown.get(payload.id);
  if (!inference) return;
  inference.state = "running";
  inference.progress = payload;
  const line = body.querySelector(`tr[data-id="${payload.id}"] td`);
  line?.replaceChildren(...state(inference));
});

await Promise.all([loadChoices(), refresh()]);

// The page of data: choosing files, watching them travel, scans, annotations; for administrators what is ready where.

import { call } from "./api.js";
import { confirmed } from "./actions.js";
import { localTime, text, toast } from "./dom.js";
import { showProblem } from "./forms.js";
import { subscribe } from "./live.js";
import { chip, el } from "./make.js";
import { Refused, send } from "./upload.js";

const AT_ONCE = 3;
/** Files in one question to the server. */
const LIST = 1000;
const HEADER_BYTES = 65536;
const hasher = document.querySelector("script[data-hasher]").dataset.hasher;
const place = (id) => document.getElementById(id);
const GIB = 2 ** 30;

function size(bytes) {
  if (bytes < 2 ** 20) return `${Math.ceil(bytes / 1024)} KiB`;
  return bytes < GIB ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / GIB).toFixed(2)} GiB`;
}

// ---------------------------------------------------------------- choosing

/** Everything in what was dropped, folders too: `{ path, file }`. */
async function dropped(items) {
  const found = [];
  const entries = [];
  for (const item of items) {
    const entry = item.webkitGetAsEntry();
    // What is no file of a disk, such as an attachment of a mail, has no entry.
    const file = entry ? null : item.getAsFile();
    if (entry) entries.push(entry);
    else if (file) found.push({ path: file.name, file });
  }
  const walk = async (entry) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ path: entry.fullPath.slice(1), file });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const each of some) await walk(each);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

/** The text of a header as far as the voxels. Only lengths matter of bytes that are no ASCII before voxels in one file. */
async function header(file) {
  const bytes = new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer());
  if (file.size <= HEADER_BYTES && !bytes.includes(0)) return new TextDecoder().decode(bytes);
  const ascii = Array.from(bytes, (byte) => (byte < 128 ? String.fromCharCode(byte) : "?")).join("");
  return ascii.match(/^[^]*?ElementDataFile[^\n]*\n/)?.[0] ?? ascii.slice(0, 1024);
}

async function choose(files) {
  const wanted = files.filter(({ path }) => !path.split("/").at(-1).startsWith("."));
  if (wanted.length === 0) return;
  // Only files of one folder belong together.
  const folders = Map.groupBy(wanted, ({ path }) => path.slice(0, path.lastIndexOf("/") + 1));
  let list = [];
  const results = { scans: [], left: [] };
  const ask = async () => {
    const offered = [];
    for (const { path, file } of list) {
      const text = /\.mh[ad]$/i.test(path) ? await header(file) : null;
      offered.push({ path, bytes: file.size, header: text });
    }
    list = [];
    const answer = await call("POST", "/api/uploads", { files: offered });
    if (!answer.ok) return toast([answer.body.title, answer.body.detail].filter(Boolean).join(" · "), "bad");
    results.scans.push(...answer.body.scans);
    results.left.push(...answer.body.left);
  };
  for (const folder of folders.values()) {
    if (list.length + folder.length > LIST && list.length) await ask();
    list.push(...folder);
  }
  await ask();
  const byPath = new Map(wanted.map(({ path, file }) => [path, file]));
  const missing = ({ state, offset, bytes }) => state === "wanted" && offset < bytes;
  for (const scan of results.scans.filter(missing)) enqueue(scan.upload, byPath.get(scan.data_path));
  showPairing(results);
  await refreshUploads();
}

function showPairing({ scans, left }) {
  const count = (state) => scans.filter((scan) => scan.state === state).length;
  place("pairing").hidden = false;
  const counts = { wanted: count("wanted"), there: count("there"), refused: count("refused"), left: left.length };
  place("pairing-summary").textContent = text("pairing.summary", counts);
  const line = (kind, drawing, word, path, message) =>
    el("li", {}, chip(kind, drawing, word), el("span", {}, el("span", { class: "mono" }, path), message && ` — ${message}`));
  const lines = [
    ...scans.filter(({ state }) => state === "refused").map(({ path, message }) => line("bad", "warning", text("pairing.refused"), path, message)),
    ...left.map(({ path, message }) => line("", "off", text("pairing.left"), path, message)),
    ...scans.filter(({ state }) => state === "there").map(({ path, message }) => line("", "check", text("pairing.there"), path, message)),
    ...scans.filter(({ state }) => state === "wanted").map(({ path, offset }) =>
      line("good", "check", text("pairing.wanted"), path, offset > 0 ? text("pairing.resumed") : ""),
    ),
  ];
  place("pairing").querySelector("ul").replaceChildren(...lines);
}

place("pairing-close").addEventListener("click", () => (place("pairing").hidden = true));
for (const id of ["files", "folder"]) {
  place(id).addEventListener("change", async ({ target }) => {
    const files = [...target.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
    target.value = "";
    await choose(files);
  });
}
const drop = place("drop");
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  // The list is emptied when this function first waits.
  const files = dropped(event.dataTransfer.items);
  await choose(await files);
});

// ---------------------------------------------------------------- sending

/** By the upload's name: `{ file, sent, waiting, running, failed, stop, rate }`. */
const transfers = new Map();
let mostAtOnce = 0;

function enqueue(id, file) {
  const known = transfers.get(id);
  if (known && !known.failed) return;
  transfers.set(id, { file, sent: 0, waiting: false, running: false, failed: null, stop: new AbortController(), began: 0, from: 0 });
}

function pump() {
  const running = [...transfers.values()].filter((transfer) => transfer.running).length;
  const next = [...transfers].filter(([, transfer]) => !transfer.running && !transfer.failed).slice(0, AT_ONCE - running);
  for (const [id, transfer] of next) start(id, transfer);
}

async function start(id, transfer) {
  transfer.running = true;
  const onProgress = ({ sent, waiting }) => {
    if (!transfer.began && !waiting) Object.assign(transfer, { began: performance.now(), from: sent });
    Object.assign(transfer, { sent, waiting });
    drawUploads();
  };
  try {
    await send(id, transfer.file, mostAtOnce, hasher, onProgress, transfer.stop.signal);
    transfers.delete(id);
  } catch (error) {
    if (transfer.stop.signal.aborted) transfers.delete(id);
    else if (error instanceof Refused) transfer.failed = error.message;
    else throw error;
  } finally {
    transfer.running = false;
    await refreshUploads();
  }
}

// Whoever closes the page in the middle is asked; what was sent stays in any case.
addEventListener("beforeunload", (event) => [...transfers.values()].some((transfer) => transfer.running) && event.preventDefault());

let unfinished = [];

async function refreshUploads() {
  const answer = await call("GET", "/api/uploads");
  if (!answer.ok) return toast(answer.body.title, "bad");
  unfinished = answer.body.uploads;
  mostAtOnce = answer.body.most_bytes_at_once;
  for (const id of transfers.keys()) if (!transfers.get(id).running && !unfinished.some((upload) => upload.id === id)) transfers.delete(id);
  drawUploads();
  pump();
}

function words(upload, transfer) {
  const { bytes, offset, state, message } = upload;
  const sent = Math.max(offset, transfer?.sent ?? 0);
  const share = { sent: size(sent), bytes: size(bytes) };
  if (state === "refused") return [chip("bad", "warning", text("upload.refused")), message];
  if (state === "checking") return [chip("wait", "clock", text("upload.checking")), size(bytes)];
  if (transfer?.failed) return [chip("bad", "warning", text("upload.failed")), transfer.failed];
  if (transfer?.waiting) return [chip("wait", "clock", text("upload.waiting")), text("upload.share", share)];
  if (transfer?.running) {
    const seconds = (performance.now() - transfer.began) / 1000;
    const rate = transfer.began && seconds > 0.5 ? size((transfer.sent - transfer.from) / seconds) : "—";
    return [chip("good", "clock", text("upload.running")), text("upload.rate", { ...share, rate })];
  }
  if (transfer) return [chip("", "clock", text("upload.queued")), text("upload.share", share)];
  return [chip("wait", "warning", text("upload.lost")), text("upload.again", { ...share, at: localTime(upload.expires_at) })];
}

/** Rows stay the same elements, so that focus and progress do not jump. */
const rows = new Map();

function drawUploads() {
  place("uploads").hidden = unfinished.length === 0;
  for (const [id, row] of rows) {
    if (unfinished.some((upload) => upload.id === id)) continue;
    row.remove();
    rows.delete(id);
  }
  for (const upload of unfinished) {
    const transfer = transfers.get(upload.id);
    if (!rows.has(upload.id)) rows.set(upload.id, place("uploads").querySelector("ul").appendChild(uploadRow(upload)));
    const row = rows.get(upload.id);
    const sent = upload.state === "checking" ? upload.bytes : Math.max(upload.offset, transfer?.sent ?? 0);
    row.querySelector("progress").value = sent / Math.max(upload.bytes, 1);
    const [state, detail] = words(upload, transfer);
    const line = row.querySelector(".words");
    if (line.dataset.shown !== state.textContent + detail) {
      line.dataset.shown = state.textContent + detail;
      line.replaceChildren(state, " ", el("span", { class: "quiet number" }, detail));
    }
    row.querySelector("button").disabled = upload.state === "checking";
  }
}

function uploadRow({ id, header_name, data_name }) {
  const name = header_name === data_name ? header_name : `${header_name} + ${data_name}`;
  const remove = el("button", { type: "button", class: "button small danger", "aria-label": text("upload.remove.of", { name }) }, text("upload.remove"));
  remove.addEventListener("click", async () => {
    if (!(await confirmed(text("upload.remove.sure")))) return;
    transfers.get(id)?.stop.abort();
    const answer = await removed(`/api/uploads/${id}`);
    if (!answer.ok) toast(answer.body.detail || answer.body.title, "bad");
    await refreshUploads();
  });
  return el(
    "li",
    { "data-upload": id },
    el("span", { class: "mono" }, name),
    el("progress", { max: 1, value: 0, "aria-label": name }),
    el("span", { class: "words" }),
    el("div", { class: "row-actions" }, remove),
  );
}

/** A piece that was on its way when it was given up may still be at work. */
async function removed(path) {
  for (let again = 0; ; again++) {
    const answer = await call("DELETE", path);
    if (answer.status !== 423 || again === 10) return answer;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

// ---------------------------------------------------------------- what is there

async function refreshScans() {
  const answer = await call("GET", "/api/scans");
  if (!answer.ok) return toast(answer.body.title, "bad");
  const { scans, used_bytes, quota_bytes } = answer.body;
  place("usage").hidden = false;
  place("usage").textContent = text("scans.usage", { count: scans.length, used: size(used_bytes), quota: size(quota_bytes) });
  place("no-scans").hidden = scans.length > 0;
  document.querySelector("#scans tbody").replaceChildren(...scans.map(scanRow));
  find();
}

function scanRow(scan) {
  const { id, series_uid, shape_zyx, spacing_mm_xyz, hu_min, hu_max, bytes, created_at, nodules } = scan;
  const cell = (label, ...content) => el("td", { "data-label": text(label) }, ...content);
  const grid = shape_zyx && [`${shape_zyx.toReversed().join(" × ")}`, el("br"), el("span", { class: "quiet" }, `${spacing_mm_xyz.map((mm) => Number(mm.toFixed(3))).join(" × ")} mm`)];
  const known = nodules ? chip("good", "check", text("scans.nodules", { count: nodules })) : chip("", "off", text("scans.unknown"));
  const range = [`${hu_min} … ${hu_max}`, hu_min >= 0 && el("span", { class: "hint" }, el("br"), text("scans.no_air"))];
  const remove = el("button", { type: "button", class: "button small danger" }, text("scans.remove"));
  remove.addEventListener("click", async () => {
    if (!(await confirmed(text("scans.remove.sure")))) return;
    const answer = await call("DELETE", `/api/scans/${id}`);
    if (!answer.ok) toast([answer.body.title, answer.body.detail].filter(Boolean).join(" · "), "bad");
    await refreshScans();
  });
  return el(
    "tr",
    { "data-search": series_uid.toLowerCase(), "data-id": id },
    el("td", {}, el("a", { href: `/scans/${id}`, tabindex: -1, "aria-hidden": "true" }, el("img", { class: "thumbnail", src: `/api/scans/${id}/thumbnail.png`, alt: "", loading: "lazy", width: 60, height: 60 }))),
    el("th", { scope: "row" }, el("a", { href: `/scans/${id}`, class: "mono" }, series_uid)),
    cell("scans.column.grid", el("span", { class: "number" }, ...(grid || ["—"]))),
    cell("scans.column.range", el("span", { class: "number" }, range)),
    cell("scans.column.annotations", known),
    el("td", { class: "number end", "data-label": text("scans.column.bytes") }, size(bytes)),
    cell("scans.column.added", el("time", { datetime: created_at }, localTime(created_at))),
    el("td", { class: "end" }, el("div", { class: "row-actions" }, el("a", { class: "button small primary", href: `/inferences?scan=${id}` }, text("scans.mark")), remove)),
  );
}

function find() {
  const sought = place("find-scan").value.trim().toLowerCase();
  for (const row of document.querySelectorAll("#scans tbody tr")) row.hidden = !row.dataset.search.includes(sought);
}
place("find-scan").addEventListener("input", find);

// ---------------------------------------------------------------- annotations

async function refreshExtent() {
  const answer = await call("GET", "/api/annotations");
  if (!answer.ok) return;
  const { own, common } = answer.body;
  const server = Boolean(place("readiness"));
  place("extent").textContent = text(server ? "annotations.extent.server" : "annotations.extent.client", {
    nodules: own.nodules, series: own.series, common_nodules: common.nodules, common_series: common.series,
  });
  place("forget").hidden = (server ? common : own).nodules === 0;
}

place("table").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  const form = place("import");
  const answer = await call("POST", "/api/annotations", file);
  showProblem(form, answer.ok ? null : answer.body);
  const wrong = answer.body.errors ?? [];
  place("import-rows").hidden = wrong.length === 0;
  place("import-rows").replaceChildren(...wrong.map(({ message }) => el("li", {}, message)));
  if (!answer.ok) return;
  const { nodules, series, matched, outside } = answer.body;
  toast(text("annotations.imported", { nodules, series, matched }));
  if (outside.length) {
    const lines = outside.slice(0, 20).join(", ");
    place("import-rows").hidden = false;
    place("import-rows").replaceChildren(el("li", {}, text("annotations.outside", { count: outside.length, lines })));
  }
  await Promise.all([refreshExtent(), refreshScans()]);
});

place("forget").addEventListener("click", async () => {
  if (!(await confirmed(text("annotations.forget.sure")))) return;
  const answer = await call("DELETE", "/api/annotations");
  if (!answer.ok) toast(answer.body.title, "bad");
  await Promise.all([refreshExtent(), refreshScans()]);
});

// ---------------------------------------------------------------- who is ready

async function refreshReadiness() {
  if (!place("readiness")) return;
  const answer = await call("GET", "/api/readiness");
  if (!answer.ok) return toast(answer.body.title, "bad");
  const { institutions } = answer.body;
  place("no-institutions").hidden = institutions.length > 0;
  document.querySelector("#readiness tbody").replaceChildren(...institutions.map(readinessRow));
}

function readinessRow({ username, institution, complete, incomplete, annotated, nodules, ready, missing, active_at }) {
  const state = ready ? chip("good", "check", text("readiness.ready")) : chip("wait", "warning", text("readiness.missing." + missing));
  const number = (label, value) => el("td", { class: "number end", "data-label": text(label) }, value);
  return el(
    "tr",
    { "data-user": username },
    el("th", { scope: "row" }, el("span", { class: "name" }, institution), el("span", { class: "quiet" }, username)),
    el("td", { "data-label": text("readiness.column.state") }, state),
    number("readiness.column.complete", complete),
    number("readiness.column.incomplete", incomplete),
    number("readiness.column.annotated", annotated),
    number("readiness.column.nodules", nodules),
    el("td", { class: "end", "data-label": text("readiness.column.active") }, active_at ? el("time", { datetime: active_at }, localTime(active_at)) : "—"),
  );
}

// Many files end at about the same time.
let pending = false;
subscribe("data.changed", () => {
  if (pending) return;
  pending = true;
  setTimeout(() => {
    pending = false;
    refreshAll();
  }, 300);
});

function refreshAll() {
  return Promise.all([refreshUploads(), refreshScans(), refreshExtent(), refreshReadiness()]);
}
await refreshAll();

// A result to print: everything that is shown comes from the result and the scan's own grid.

import { call } from "./api.js";
import { localTime, text } from "./dom.js";
import { side } from "./viewer-findings.js";
import { AXES, count, nearestVoxel, PLANES } from "./viewer-space.js";

/** Around a finding, millimetres; larger findings get more. */
const FIELD_MM = 90;
const PIXELS = 372;
const place = (id) => document.getElementById(id);
const made = (name, content = "", className = "") => Object.assign(document.createElement(name), { textContent: content, className });
const sheet = document.querySelector(".sheet");

start();

async function start() {
  place("print").addEventListener("click", () => print());
  const { ok, body: result } = await call("GET", `/api/inferences/${sheet.dataset.inference}`);
  if (!ok) return say(result);
  if (result.state !== "done") return say({ title: text("report.unfinished") });
  const { ok: known, body: grid } = await call("GET", `/api/scans/${result.scan_id}`);
  if (!known) return say(grid);
  const sorted = [...result.findings].sort((a, b) => b.confidence - a.confidence);
  const [reported, rejected] = [sorted.filter(({ review }) => review !== "rejected"), sorted.filter(({ review }) => review === "rejected")];
  facts(result, grid);
  table(grid, reported, rejected);
  place("findings").replaceChildren(...reported.map((finding) => pictures(result, grid, finding)));
  document.querySelector(".pictures").hidden = !reported.length;
  place("rejected").hidden = !rejected.length;
  place("rejected-list").replaceChildren(...rejected.map((finding) => made("li", line(grid, finding))));
  place("state").hidden = true;
  place("report").hidden = false;
  // What is printed is complete.
  const images = [...sheet.querySelectorAll("img")];
  const whole = await Promise.all(images.map((image) => image.decode().then(() => true, () => false)));
  sheet.setAttribute("aria-busy", "false");
  if (whole.includes(false)) return say({ title: text("report.picture.missing") });
  place("print").disabled = false;
}

function say({ title, detail }) {
  const state = place("state");
  [state.hidden, state.className, state.textContent] = [false, "notice bad", [title, detail].filter(Boolean).join(" · ")];
  sheet.setAttribute("aria-busy", "false");
}

const axial = (grid, finding) => nearestVoxel(grid, finding.center_mm_xyz)[AXES.axial.across] + 1;
const millimetres = ({ center_mm_xyz }) => center_mm_xyz.map((mm) => mm.toFixed(1)).join(", ");
const percent = ({ confidence }) => `${Math.round(confidence * 100)}%`;

function line(grid, finding) {
  const { number, diameter_mm } = finding;
  return text("report.line", { number, side: side(finding), diameter: diameter_mm.toFixed(1), slice: axial(grid, finding), confidence: percent(finding) });
}

function facts(result, grid) {
  const values = [
    ["viewer.fact.series", grid.series_uid],
    ["viewer.fact.model", result.model.version],
    ["viewer.fact.voxels", [...grid.shape_zyx].reverse().join(" × ")],
    ["viewer.fact.hash", result.model.sha256],
    ["viewer.fact.spacing", `${grid.spacing_mm_xyz.map((mm) => Number(mm.toFixed(3))).join(" × ")} mm`],
    ["viewer.fact.mode", `${text("viewer.mode." + result.mode)} · ${text("viewer.threshold.now", { threshold: result.threshold.toFixed(2) })}`],
    ["viewer.fact.at", localTime(result.created_at)],
    ["viewer.fact.number", String(result.id)],
  ];
  if (result.model.note) values.push(["viewer.fact.note", result.model.note]);
  if (grid.resampled) values.push(["viewer.fact.resampled", text("viewer.resampled")]);
  place("facts").replaceChildren(...values.flatMap(([name, value]) => [made("dt", text(name)), made("dd", value)]));
}

function table(grid, reported, rejected) {
  const accepted = reported.filter(({ review }) => review === "accepted").length;
  const counts = { count: reported.length, accepted, open: reported.length - accepted, rejected: rejected.length };
  place("summary-text").textContent = text(reported.length ? "report.found" : "report.none", counts);
  place("table").hidden = !reported.length;
  place("table").tBodies[0].replaceChildren(
    ...reported.map((finding) => {
      const row = made("tr");
      const volume = Number.isFinite(finding.volume_mm3) ? `${finding.volume_mm3.toFixed(0)} mm³` : "—";
      const cells = [`N${finding.number}`, side(finding), `${finding.diameter_mm.toFixed(1)} mm`, volume, `${axial(grid, finding)} / ${grid.shape_zyx[0]}`, millimetres(finding), percent(finding)];
      row.append(...cells.map((value, at) => made(at ? "td" : "th", value, [2, 3, 4, 6].includes(at) ? "end" : "")));
      row.firstChild.scope = "row";
      const reviewed = [text("report.review." + (finding.review ?? "open")), finding.review && finding.reviewed_by];
      row.append(made("td", reviewed.filter(Boolean).join(" · ")));
      return row;
    }),
  );
}

/** Three planes through a finding. */
function pictures(result, grid, finding) {
  const block = made("figure", "", "finding-pictures");
  const field = Math.max(FIELD_MM, finding.diameter_mm * 2.5);
  const voxel = nearestVoxel(grid, finding.center_mm_xyz);
  const row = made("div", "", "planes");
  for (const plane of PLANES) {
    const index = voxel[AXES[plane].across];
    const wanted = new URLSearchParams({
      marks: `${finding.number}:${[...finding.center_mm_xyz, finding.diameter_mm].map((mm) => mm.toFixed(2)).join(",")}`,
      around: finding.center_mm_xyz.map((mm) => mm.toFixed(2)).join(","),
      field_mm: field.toFixed(1),
      pixel_mm: (field / PIXELS).toFixed(3),
      edition: grid.edition,
    });
    const name = text("plane." + plane);
    const image = made("img");
    image.src = `/api/scans/${result.scan_id}/slice/${plane}/${index}.png?${wanted}`;
    image.alt = text("report.picture", { number: finding.number, plane: name, slice: index + 1 });
    const one = made("div");
    one.append(image, made("span", `${name} ${index + 1} / ${count(grid, AXES[plane].across)}`));
    row.append(one);
  }
  block.append(made("figcaption", line(grid, finding)), row);
  return block;
}

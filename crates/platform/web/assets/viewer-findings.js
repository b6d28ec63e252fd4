// The lists beside the planes: findings of a result, and what is annotated.

import { call } from "./api.js";
import { text, toast } from "./dom.js";
import { AXES, distance, isInside, nearestVoxel } from "./viewer-space.js";

const place = (id) => document.getElementById(id);
const element = (name, className, content = "") => {
  const made = document.createElement(name);
  [made.className, made.textContent] = [className, content];
  return made;
};

/** Which lung a finding lies in, where that is known: no more is said. */
export const side = ({ side }) => (side ? text("side." + side) : text("side.unknown"));

/** Size and place of a finding, in two lines. */
function facts(grid, { center_mm_xyz, diameter_mm, volume_mm3 }) {
  const size = [text("viewer.finding.diameter", { diameter: diameter_mm.toFixed(1) })];
  // An annotation, and a finding that the network has not segmented, has none.
  if (Number.isFinite(volume_mm3)) size.push(text("viewer.finding.volume", { volume: volume_mm3.toFixed(0) }));
  size.push(text("viewer.finding.slice", { slice: nearestVoxel(grid, center_mm_xyz)[AXES.axial.across] + 1 }));
  const place = `${center_mm_xyz.map((mm) => mm.toFixed(1)).join(", ")} mm`;
  return [size.join(" · "), place].map((line) => element("span", "quiet", line));
}

export class Findings {
  #all;
  #selected = null;
  #threshold;
  #jump;
  #changed;
  #result;
  #grid;

  constructor(result, grid, jump, changed) {
    [this.#result, this.#grid, this.#jump, this.#changed] = [result, grid, jump, changed];
    this.#all = result.findings.map((finding) => ({ ...finding })).sort((a, b) => b.confidence - a.confidence);
    const slider = place("threshold");
    // Nothing below the threshold of the run is known.
    this.#threshold = result.threshold;
    [slider.min, slider.value] = [result.threshold, result.threshold];
    slider.addEventListener("input", () => {
      this.#threshold = Number(slider.value);
      this.#filter();
      changed();
    });
    place("threshold-row").hidden = !this.#all.length;
    place("findings").setAttribute("aria-busy", "false");
    place("finding-list").replaceChildren(...this.#all.map((finding) => this.#row(finding)));
    this.#filter();
  }

  /** What is to be marked. */
  marks() {
    return this.#visible().map((finding) => ({
      ...finding,
      kind: "finding",
      selected: finding === this.#selected,
      label: `N${finding.number} ${finding.diameter_mm.toFixed(1)} mm`,
    }));
  }

  /** Selects the next finding, or the one before; `false` where there is none. */
  step(by) {
    const visible = this.#visible();
    if (!visible.length) return false;
    const at = visible.indexOf(this.#selected);
    const next = at < 0 ? (by > 0 ? 0 : visible.length - 1) : (at + by + visible.length) % visible.length;
    this.#select(visible[next]);
    return true;
  }

  /** Whoever moves away from the selected finding does not look at it any more. */
  showCurrent(point) {
    const selected = this.#selected;
    if (selected && distance(point, selected.center_mm_xyz) > selected.diameter_mm / 2 + 12) this.#mark(null);
  }

  #visible() {
    return this.#all.filter(({ confidence }) => confidence >= this.#threshold);
  }

  #select(finding) {
    this.#mark(finding);
    this.#jump(finding);
    finding.row.scrollIntoView({ block: "nearest" });
  }

  #mark(finding) {
    this.#selected = finding;
    for (const { row, ...other } of this.#all) {
      const is = finding?.number === other.number;
      row.classList.toggle("selected", is);
      row.querySelector(".jump").setAttribute("aria-current", String(is));
    }
  }

  #filter() {
    const visible = new Set(this.#visible());
    for (const finding of this.#all) finding.row.hidden = !visible.has(finding);
    place("findings-title").textContent = text("viewer.found", { count: visible.size });
    place("threshold-text").textContent = text("viewer.threshold.now", { threshold: this.#threshold.toFixed(2) });
    place("findings-empty").hidden = visible.size > 0;
    place("findings-empty").textContent = text(this.#all.length ? "viewer.none_above" : "viewer.none", { threshold: this.#threshold.toFixed(2) });
    if (this.#selected && !visible.has(this.#selected)) this.#mark(null);
  }

  #row(finding) {
    const row = element("li", "finding");
    const jump = element("button", "jump");
    jump.type = "button";
    const confidence = `${Math.round(finding.confidence * 100)}%`;
    const name = element("span", "name");
    name.append(element("b", "", `N${finding.number}`), ` ${side(finding)}`);
    jump.append(element("i", "ring"), name, element("span", "confidence", confidence), ...facts(this.#grid, finding));
    jump.addEventListener("click", () => this.#select(finding));
    const review = element("div", "review");
    for (const verdict of ["accepted", "rejected"]) {
      const button = element("button", verdict, text("viewer.review." + verdict));
      button.type = "button";
      button.dataset.verdict = verdict;
      button.setAttribute("aria-label", text("viewer.review.label." + verdict, { number: finding.number }));
      button.addEventListener("click", () => this.#review(finding, finding.review === verdict ? null : verdict));
      review.append(button);
    }
    row.append(jump, review);
    finding.row = row;
    this.#showReview(finding);
    return row;
  }

  #showReview({ row, review }) {
    row.dataset.review = review ?? "";
    for (const button of row.querySelectorAll(".review button")) button.setAttribute("aria-pressed", String(button.dataset.verdict === review));
  }

  async #review(finding, review) {
    const buttons = finding.row.querySelectorAll(".review button");
    for (const button of buttons) button.disabled = true;
    const { ok, body } = await call("PUT", `/api/inferences/${this.#result.id}/findings/${finding.number}/review`, { review });
    for (const button of buttons) button.disabled = false;
    if (!ok) return toast([body.title, body.detail].filter(Boolean).join(" · "), "bad");
    finding.review = review;
    this.#showReview(finding);
    this.#changed();
  }
}

/** The annotations of a scan, where there are any, in a list and as marks. */
export function showAnnotations(grid, jump, changed) {
  const known = (grid.annotations ?? []).filter(({ center_mm_xyz }) => isInside(grid, center_mm_xyz));
  const shown = place("annotations-shown");
  place("annotations").hidden = !known.length;
  shown.addEventListener("change", changed);
  place("annotation-list").replaceChildren(
    ...known.map((annotation, at) => {
      const row = element("li", "finding annotation");
      const go = element("button", "jump");
      go.type = "button";
      go.append(element("i", "ring"), element("span", "name", text("viewer.annotation", { number: at + 1 })), ...facts(grid, annotation));
      go.addEventListener("click", () => jump(annotation));
      row.append(go);
      return row;
    }),
  );
  const marks = known.map((annotation, at) => ({ ...annotation, kind: "annotation", label: `${text("viewer.annotation", { number: at + 1 })} ${annotation.diameter_mm.toFixed(1)} mm` }));
  return { marks: () => (shown.checked ? marks : []) };
}

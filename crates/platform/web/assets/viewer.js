// The viewer: three planes of one scan, with the findings of a result where there is one.

import { call } from "./api.js";
import { localTime, text } from "./dom.js";
import { Findings, showAnnotations } from "./viewer-findings.js";
import { measureLength, Pane } from "./viewer-pane.js";
import { Slices } from "./viewer-slices.js";
import { AXES, clamp, count, nearestVoxel, worldFromVoxel } from "./viewer-space.js";
import { PRESETS } from "./viewer-window.js";

const POLL_MS = 4000;
const FRAMES_KEPT = 600;
const viewer = document.getElementById("viewer");
const place = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

start();

async function start() {
  wireDialogs();
  let result = null;
  let scan = viewer.dataset.scan;
  if (viewer.dataset.inference) {
    result = await finished(viewer.dataset.inference);
    if (!result) return;
    scan = result.scan_id;
    place("model").hidden = false;
    place("model").textContent = text("viewer.model", { version: result.model.version });
  }
  const { ok, body: grid } = await call("GET", `/api/scans/${scan}`);
  if (!ok) return fail(grid);
  for (const trouble of viewer.querySelectorAll(".pane .trouble")) trouble.hidden = true;
  place("case").textContent = grid.series_uid;
  place("case").title = grid.series_uid;
  place("case").classList.add("uid");
  run(scan, grid, result);
}

/** Says on every plane why there is nothing to see. */
function fail({ title, detail, waits = false }) {
  const message = [title, detail].filter(Boolean).join(" · ");
  place("case").textContent = title;
  for (const trouble of viewer.querySelectorAll(".pane .trouble")) {
    [trouble.hidden, trouble.textContent] = [false, message];
    trouble.classList.toggle("waits", waits);
  }
  place("findings")?.setAttribute("aria-busy", "false");
  if (place("findings-title")) place("findings-title").textContent = title;
}

/** The result as soon as it is there; `null` where there will be none. */
async function finished(id) {
  for (;;) {
    const { ok, status, body } = await call("GET", `/api/inferences/${id}`);
    if (!ok && status) return fail(body) ?? null;
    if (ok && body.state === "done") return body;
    if (ok && ["failed", "cancelled"].includes(body.state)) {
      return fail({ title: text("viewer.no_result"), detail: reason(body.failure) }) ?? null;
    }
    fail(ok ? { title: text("viewer.waiting"), waits: true } : body);
    await pause(POLL_MS);
  }
}

/** The worker's own words, or the name of a failure that the server knows. */
function reason(failure) {
  if (!failure) return text("viewer.no_result.detail");
  return failure.message ? [failure.message, failure.advice].filter(Boolean).join(" ") : text("inference.failure." + failure.kind);
}

function run(scan, grid, result) {
  const frames = [];
  const panes = new Map();
  const state = {
    grid,
    slices: new Slices(scan, grid),
    voxel: [0, 1, 2].map((axis) => Math.floor(count(grid, axis) / 2)),
    window: { ...PRESETS.lung },
    tool: "point",
    measures: [],
    marks: () => [...annotations.marks(), ...(findings?.marks() ?? [])],
    move(axis, index) {
      state.voxel[axis] = index;
      changed();
    },
    moveTo(voxel) {
      state.voxel = voxel;
      changed();
    },
    setWindow({ center, width }) {
      state.window = { center: clamp(center, -2000, 4000), width: clamp(width, 1, 8000) };
      showWindow();
      drawAll();
    },
    measured(measure) {
      // A click is no line.
      if (measureLength(grid, measure) < 0.5) state.measures.splice(state.measures.indexOf(measure), 1);
      showMeasures();
      drawAll();
    },
    activate(pane) {
      active = pane;
    },
    drawn(milliseconds) {
      frames.push(milliseconds);
      if (frames.length > FRAMES_KEPT) frames.shift();
    },
  };
  for (const element of viewer.querySelectorAll(".pane:not(#volume)")) panes.set(element.dataset.plane, new Pane(element, state));
  let active = panes.get("axial");
  let volume = null;
  const drawAll = () => {
    for (const pane of panes.values()) pane.draw();
    volume?.draw();
  };
  const changed = () => {
    findings?.showCurrent(worldFromVoxel(grid, state.voxel));
    drawAll();
  };
  const jump = ({ center_mm_xyz }) => state.moveTo(nearestVoxel(grid, center_mm_xyz));
  const annotations = showAnnotations(grid, jump, drawAll);
  const findings = result && new Findings(result, grid, jump, drawAll);
  // How long frames take, for whoever measures it.
  globalThis.viewerFrames = frames;

  const showWindow = () => {
    const { center, width } = state.window;
    for (const button of viewer.querySelectorAll("[data-window]")) {
      const preset = PRESETS[button.dataset.window];
      button.setAttribute("aria-pressed", String(preset.center === center && preset.width === width));
    }
    [place("window-center").value, place("window-width").value] = [Math.round(center), Math.round(width)];
  };
  const showMeasures = () => {
    place("measures").hidden = !state.measures.length;
    place("measure-list").replaceChildren(
      ...state.measures.map((measure) => {
        const line = document.createElement("li");
        const go = document.createElement("button");
        go.type = "button";
        go.textContent = `${measureLength(grid, measure).toFixed(1)} mm`;
        go.addEventListener("click", () => state.move(AXES[measure.plane].across, measure.index));
        const remove = document.createElement("button");
        remove.type = "button";
        remove.textContent = text("viewer.remove");
        remove.addEventListener("click", () => {
          state.measures.splice(state.measures.indexOf(measure), 1);
          showMeasures();
          drawAll();
        });
        line.append(go, remove);
        return line;
      }),
    );
  };
  const setTool = (tool) => {
    state.tool = tool;
    viewer.dataset.tool = tool;
    for (const button of viewer.querySelectorAll("[data-tool]")) {
      if (button !== viewer) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    }
  };
  const restore = () => {
    state.setWindow(PRESETS.lung);
    setTool("point");
    for (const pane of panes.values()) pane.restore();
    volume?.restore();
  };
  const show = async (plane) => {
    viewer.dataset.shown = plane;
    for (const tab of viewer.querySelectorAll("[data-show]")) tab.setAttribute("aria-pressed", String(tab.dataset.show === plane));
    place("volume").hidden = plane !== "volume";
    place("show-volume").setAttribute("aria-pressed", String(plane === "volume"));
    if (plane === "volume") {
      const { Volume } = await import("./viewer-volume.js");
      volume ??= new Volume(place("volume"), scan, state);
    } else active = panes.get(plane);
    drawAll();
  };
  /** A line by keyboard: from the crosshair, to the crosshair. */
  const measureHere = () => {
    const open = state.measures.find((measure) => measure.open);
    if (open) {
      if (open.plane === active.plane && open.index === active.index) open.ends[1] = [...state.voxel];
      delete open.open;
      return state.measured(open);
    }
    state.measures.push({ plane: active.plane, index: active.index, ends: [[...state.voxel], [...state.voxel]], open: true });
    drawAll();
  };

  const keys = {
    ArrowUp: () => active.go(active.index + 1),
    ArrowDown: () => active.go(active.index - 1),
    ArrowRight: () => active.go(active.index + 1),
    ArrowLeft: () => active.go(active.index - 1),
    PageUp: () => active.go(active.index + 10),
    PageDown: () => active.go(active.index - 10),
    Home: () => active.go(0),
    End: () => active.go(active.count - 1),
    n: () => findings?.step(1),
    p: () => findings?.step(-1),
    1: () => state.setWindow(PRESETS.lung),
    2: () => state.setWindow(PRESETS.mediastinum),
    3: () => state.setWindow(PRESETS.bone),
    "[": () => state.setWindow({ ...state.window, width: state.window.width - 50 }),
    "]": () => state.setWindow({ ...state.window, width: state.window.width + 50 }),
    ",": () => state.setWindow({ ...state.window, center: state.window.center - 20 }),
    ".": () => state.setWindow({ ...state.window, center: state.window.center + 20 }),
    "+": () => active.zoom(1.25),
    "=": () => active.zoom(1.25),
    "-": () => active.zoom(0.8),
    r: restore,
    m: () => setTool(state.tool === "measure" ? "point" : "measure"),
    "?": () => place("keys").showModal(),
    Delete: () => {
      state.measures.pop();
      showMeasures();
      drawAll();
    },
  };
  const arrows = { ArrowUp: ["down", -1], ArrowDown: ["down", 1], ArrowLeft: ["right", -1], ArrowRight: ["right", 1] };
  document.addEventListener("keydown", (event) => {
    const { key, target, shiftKey } = event;
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (target.closest("input:not([type=checkbox]), select, summary")) return;
    if (target.closest("#volume") && volume?.key(event)) return event.preventDefault();
    let act = keys[key.length === 1 ? key.toLowerCase() : key];
    if (shiftKey && arrows[key]) {
      const [side, sign] = arrows[key];
      const axis = active.axes[side];
      const step = side === "down" && active.axes.upright ? -sign : sign;
      act = () => state.move(axis, clamp(state.voxel[axis] + step, 0, count(grid, axis) - 1));
    } else if (key === "Enter" && state.tool === "measure" && target.closest(".pane")) act = measureHere;
    // The panel scrolls by itself.
    if (!act || (target.closest(".panel-body") && /^(Arrow|Page|Home|End)/.test(key))) return;
    event.preventDefault();
    act();
  });
  for (const button of viewer.querySelectorAll("[data-window]")) {
    button.addEventListener("click", () => state.setWindow(PRESETS[button.dataset.window]));
  }
  for (const button of viewer.querySelectorAll("button[data-tool]")) button.addEventListener("click", () => setTool(button.dataset.tool));
  for (const tab of viewer.querySelectorAll("[data-show]")) tab.addEventListener("click", () => show(tab.dataset.show));
  place("show-volume").addEventListener("click", () => show(viewer.dataset.shown === "volume" ? "axial" : "volume"));
  place("restore").addEventListener("click", restore);
  for (const [id, name] of [["window-center", "center"], ["window-width", "width"]]) {
    place(id).addEventListener("change", ({ target }) => state.setWindow({ ...state.window, [name]: Number(target.value) || state.window[name] }));
  }
  setTool("point");
  showWindow();
  showFacts(grid, result);
  if (findings?.step(1)) return;
  drawAll();
}

function showFacts(grid, result) {
  const facts = [
    ["viewer.fact.series", grid.series_uid],
    ["viewer.fact.voxels", [...grid.shape_zyx].reverse().join(" × ")],
    ["viewer.fact.spacing", `${grid.spacing_mm_xyz.map((mm) => Number(mm.toFixed(3))).join(" × ")} mm`],
    ["viewer.fact.range", `${grid.hu_min} – ${grid.hu_max} HU`],
  ];
  if (result) {
    facts.push(["viewer.fact.model", result.model.version], ["viewer.fact.hash", result.model.sha256]);
    facts.push(["viewer.fact.mode", text("viewer.mode." + result.mode)], ["viewer.fact.device", result.device]);
    facts.push(["viewer.fact.at", localTime(result.created_at)]);
  }
  if (grid.resampled) facts.push(["viewer.fact.resampled", text("viewer.resampled")]);
  place("facts").replaceChildren(
    ...facts.filter(([, value]) => value !== undefined && value !== null).flatMap(([name, value]) => {
      const [term, description] = ["dt", "dd"].map((tag) => document.createElement(tag));
      [term.textContent, description.textContent] = [text(name), value];
      return [term, description];
    }),
  );
}

function wireDialogs() {
  place("show-keys").addEventListener("click", () => place("keys").showModal());
}

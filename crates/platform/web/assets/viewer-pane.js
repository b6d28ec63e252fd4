// One plane: the slice, what is drawn over it, and what pointers do on it.

import { text } from "./dom.js";
import { AXES, clamp, count, distance, edgeLetters, pictureFromVoxel, pictureSize, touches, voxelFromPicture, voxelFromWorld, worldFromVoxel } from "./viewer-space.js";
import { paint } from "./viewer-window.js";

const SVG = document.createElementNS.bind(document, "http://www.w3.org/2000/svg");
const WHEEL_STEP = 60;
const GAP = 18;

export class Pane {
  /** The slice whose picture is on the screen; `null` before the first one. */
  shown = null;
  #pan = [0, 0];
  #zoom = 1;
  #painted = "";
  #wanted = -1;
  #wheel = 0;
  #pointers = new Map();
  #queued = false;

  constructor(element, state) {
    this.element = element;
    this.plane = element.dataset.plane;
    this.axes = AXES[this.plane];
    this.state = state;
    this.canvas = element.querySelector("canvas");
    this.svg = element.querySelector("svg");
    this.count = count(state.grid, this.axes.across);
    this.columns = count(state.grid, this.axes.right);
    this.rows = count(state.grid, this.axes.down);
    this.size = pictureSize(state.grid, this.plane);
    this.picture = new OffscreenCanvas(this.columns, this.rows);
    this.image = new ImageData(this.columns, this.rows);
    for (const [edge, letters] of Object.entries(edgeLetters(state.grid, this.plane))) {
      element.querySelector(`[data-edge=${edge}]`).textContent = letters;
    }
    new ResizeObserver(() => this.draw()).observe(element);
    this.#listen();
  }

  get index() {
    return this.state.voxel[this.axes.across];
  }

  /** Another slice. */
  go(index) {
    const next = clamp(Math.round(index), 0, this.count - 1);
    if (next !== this.index) this.state.move(this.axes.across, next);
  }

  restore() {
    [this.#pan, this.#zoom] = [[0, 0], 1];
    this.draw();
  }

  zoom(factor, [x, y] = [this.element.clientWidth / 2, this.element.clientHeight / 2]) {
    const next = clamp(this.#zoom * factor, 0.5, 30);
    const { clientWidth, clientHeight } = this.element;
    // The place below the pointer stays there.
    const center = [clientWidth / 2 + this.#pan[0], clientHeight / 2 + this.#pan[1]];
    this.#pan = [x, y].map((at, side) => at - (at - center[side]) * (next / this.#zoom) - [clientWidth, clientHeight][side] / 2);
    this.#zoom = next;
    this.draw();
  }

  /** Draws at the next frame, however often it is asked for. */
  draw() {
    if (this.#queued || this.element.hidden) return;
    this.#queued = true;
    requestAnimationFrame(() => {
      this.#queued = false;
      this.#frame();
    });
  }

  /** Pixels per millimetre and the top left of the picture. */
  #layout() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const [across, down] = this.size;
    const scale = Math.min(width / across, height / down) * this.#zoom;
    return { width, height, scale, left: (width - across * scale) / 2 + this.#pan[0], top: (height - down * scale) / 2 + this.#pan[1] };
  }

  #frame() {
    const began = performance.now();
    const layout = this.#layout();
    if (!layout.width || !layout.height) return;
    this.#load();
    if (this.shown === null) return;
    const { canvas, state } = this;
    const ratio = devicePixelRatio;
    const [pixelsWide, pixelsHigh] = [Math.round(layout.width * ratio), Math.round(layout.height * ratio)];
    if (canvas.width !== pixelsWide || canvas.height !== pixelsHigh) [canvas.width, canvas.height] = [pixelsWide, pixelsHigh];
    const wanted = `${this.shown} ${state.window.center} ${state.window.width}`;
    if (this.#painted !== wanted) {
      paint(this.values, this.image, this.columns, this.axes.upright, state.window);
      this.picture.getContext("2d").putImageData(this.image, 0, 0);
      this.#painted = wanted;
    }
    const context = canvas.getContext("2d", { alpha: false });
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const place = [layout.left, layout.top, this.size[0] * layout.scale, this.size[1] * layout.scale];
    // Close up, single voxels are wanted rather than a blur.
    context.imageSmoothingEnabled = layout.scale * Math.min(...state.grid.spacing_mm_xyz) < 6;
    context.drawImage(this.picture, ...place.map((value) => value * ratio));
    this.#overlay(layout);
    this.#corners(layout);
    state.drawn(performance.now() - began);
  }

  /** Shows the wanted slice if it is here, and asks for it otherwise: number and marks always belong to the picture. */
  #load() {
    const { index, state } = this;
    const values = state.slices.ready(this.plane, index);
    if (values) {
      if (this.shown !== index) state.slices.prefetch(this.plane, index, index - (this.shown ?? index));
      [this.shown, this.values, this.#wanted] = [index, values, -1];
      this.element.removeAttribute("aria-busy");
      return;
    }
    if (this.#wanted === index) return;
    this.#wanted = index;
    this.element.setAttribute("aria-busy", "true");
    const trouble = this.element.querySelector(".trouble");
    state.slices.load(this.plane, index).then(
      () => {
        trouble.hidden = true;
        this.draw();
      },
      (status) => {
        if (this.#wanted === index) this.#wanted = -1;
        if (this.index !== index) return;
        this.element.removeAttribute("aria-busy");
        trouble.hidden = false;
        trouble.textContent = text(status ? "viewer.slice.trouble" : "offline", { status, slice: index + 1 });
      },
    );
  }

  #screen(layout, voxel) {
    const [u, v] = pictureFromVoxel(this.state.grid, this.plane, voxel);
    return [layout.left + u * this.size[0] * layout.scale, layout.top + v * this.size[1] * layout.scale];
  }

  #voxel([x, y]) {
    const layout = this.#layout();
    const place = [(x - layout.left) / (this.size[0] * layout.scale), (y - layout.top) / (this.size[1] * layout.scale)];
    return voxelFromPicture(this.state.grid, this.plane, this.shown ?? this.index, place);
  }

  #overlay(layout) {
    const { grid, voxel, marks, measures } = this.state;
    const parts = [];
    const add = (name, attributes, content) => {
      const part = SVG(name);
      for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
      if (content) part.textContent = content;
      parts.push(part);
    };
    const [x, y] = this.#screen(layout, voxel);
    for (const [x1, y1, x2, y2] of [[0, y, x - GAP, y], [x + GAP, y, layout.width, y], [x, 0, x, y - GAP], [x, y + GAP, x, layout.height]]) {
      add("line", { class: "crosshair", x1, y1, x2, y2 });
    }
    for (const mark of marks()) {
      if (!touches(grid, this.plane, this.shown, mark)) continue;
      const [cx, cy] = this.#screen(layout, voxelFromWorld(grid, mark.center_mm_xyz));
      // Around the finding, not upon it.
      const r = (mark.diameter_mm / 2) * layout.scale + 4;
      const shape = mark.kind === "annotation" ? ["rect", { x: cx - r, y: cy - r, width: 2 * r, height: 2 * r, rx: 3 }] : ["circle", { cx, cy, r }];
      const look = `mark ${mark.kind} ${mark.review ?? ""} ${mark.selected ? "selected" : ""}`;
      add(shape[0], { class: `rim ${look}`, ...shape[1] });
      add(shape[0], { class: look, ...shape[1] });
      const reach = mark.kind === "annotation" ? r : r * Math.SQRT1_2;
      const leftwards = cx + reach + 110 > layout.width;
      const below = mark.kind === "annotation" || cy - reach < 24;
      const place = { x: leftwards ? cx - reach - 5 : cx + reach + 5, y: below ? cy + reach + 14 : cy - reach - 3, "text-anchor": leftwards ? "end" : "start" };
      add("text", { class: `label ${look}`, ...place }, mark.label);
    }
    for (const measure of measures) {
      if (measure.plane !== this.plane || measure.index !== this.shown) continue;
      const [[x1, y1], [x2, y2]] = measure.ends.map((end) => this.#screen(layout, end));
      add("line", { class: "measure rim", x1, y1, x2, y2 });
      add("line", { class: "measure", x1, y1, x2, y2 });
      for (const [cx, cy] of [[x1, y1], [x2, y2]]) add("circle", { class: "measure end", cx, cy, r: 3 });
      add("text", { class: "label measure", x: (x1 + x2) / 2 + 8, y: (y1 + y2) / 2 - 6 }, `${measureLength(grid, measure).toFixed(1)} mm`);
    }
    this.svg.setAttribute("viewBox", `0 0 ${layout.width} ${layout.height}`);
    this.svg.replaceChildren(...parts);
  }

  #corners(layout) {
    const { window } = this.state;
    const set = (name, value) => {
      const place = this.element.querySelector(name);
      if (place.textContent !== value) place.textContent = value;
    };
    set(".slice-number", `${this.shown + 1} / ${this.count}`);
    set(".window-text", text("viewer.window.now", { width: Math.round(window.width), center: Math.round(window.center) }));
    const { voxel } = this.state;
    const at = this.pointer ?? voxel;
    const mm = worldFromVoxel(this.state.grid, at).map((value) => value.toFixed(1)).join(", ");
    const hu = this.value(at);
    set(".pointer-text", `${mm} mm${hu === null ? "" : ` · ${hu} HU`}`);
    const bar = [100, 50, 20, 10, 5, 2, 1].find((mm) => mm * layout.scale <= Math.min(layout.width / 4, 160)) ?? 1;
    set(".scale-text", `${bar} mm`);
    this.element.querySelector(".scale-text").style.setProperty("--bar", `${bar * layout.scale}px`);
    this.element.setAttribute("aria-description", text("viewer.spoken", { slice: this.shown + 1, count: this.count, place: mm }));
  }

  /** The CT value of the shown slice nearest to a voxel; `null` outside. */
  value(voxel) {
    const [column, row] = [this.axes.right, this.axes.down].map((axis) => Math.round(voxel[axis]));
    const inside = column >= 0 && column < this.columns && row >= 0 && row < this.rows;
    return inside && this.values && Math.round(voxel[this.axes.across]) === this.shown ? this.values[row * this.columns + column] : null;
  }

  #listen() {
    const { element, state } = this;
    const place = ({ clientX, clientY }) => {
      const { left, top } = element.getBoundingClientRect();
      return [clientX - left, clientY - top];
    };
    element.addEventListener("focus", () => state.activate(this));
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) return this.zoom(Math.exp(-event.deltaY / 300), place(event));
      // Touch pads send many small steps, wheels few large ones.
      this.#wheel += event.deltaMode ? event.deltaY * WHEEL_STEP : event.deltaY;
      const steps = Math.trunc(this.#wheel / WHEEL_STEP);
      this.#wheel -= steps * WHEEL_STEP;
      if (steps) this.go(this.index + steps);
    }, { passive: false });
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button, select, input") || this.shown === null) return;
      element.setPointerCapture(event.pointerId);
      element.focus({ preventScroll: true });
      state.activate(this);
      this.#pointers.set(event.pointerId, { at: place(event), tool: this.#tool(event), touch: event.pointerType === "touch", moved: 0 });
      const pointer = this.#pointers.get(event.pointerId);
      if (this.#pointers.size > 1) return;
      if (pointer.tool === "measure") {
        const start = this.#voxel(pointer.at);
        pointer.measure = { plane: this.plane, index: this.shown, ends: [start, start] };
        state.measures.push(pointer.measure);
      } else if (pointer.tool === "point" && !pointer.touch) this.#point(pointer.at);
    });
    element.addEventListener("pointermove", (event) => {
      const at = place(event);
      const pointer = this.#pointers.get(event.pointerId);
      if (pointer) this.#drag(pointer, at);
      this.pointer = this.shown === null ? null : this.#voxel(at);
      this.draw();
    });
    const end = (event) => {
      const pointer = this.#pointers.get(event.pointerId);
      this.#pointers.delete(event.pointerId);
      if (!pointer) return;
      // A tap is a click; a finger that has moved has scrolled.
      if (pointer.touch && pointer.tool === "point" && pointer.moved < 8 && event.type === "pointerup") this.#point(pointer.at);
      if (pointer.measure) state.measured(pointer.measure);
    };
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", end);
    element.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.draw();
    });
  }

  #tool({ button, shiftKey }) {
    if (button === 2) return "window";
    if (button === 1 || shiftKey) return "pan";
    return this.state.tool;
  }

  #point(at) {
    const voxel = this.#voxel(at);
    this.state.moveTo(voxel.map((index, axis) => clamp(Math.round(index), 0, count(this.state.grid, axis) - 1)));
  }

  #drag(pointer, at) {
    const step = at.map((value, side) => value - pointer.at[side]);
    const others = [...this.#pointers.values()].filter((other) => other !== pointer);
    if (others.length) {
      // Two fingers: what is between them follows them.
      const before = distance(pointer.at, others[0].at);
      this.#pan = this.#pan.map((value, side) => value + step[side] / 2);
      const middle = at.map((value, side) => (value + others[0].at[side]) / 2);
      if (before > 10) this.zoom(distance(at, others[0].at) / before, middle);
      pointer.moved = 99;
    } else if (pointer.tool === "window") {
      this.state.setWindow({ center: this.state.window.center + step[1] * 2, width: Math.max(1, this.state.window.width + step[0] * 4) });
    } else if (pointer.tool === "pan") {
      this.#pan = this.#pan.map((value, side) => value + step[side]);
    } else if (pointer.measure) {
      pointer.measure.ends[1] = this.#voxel(at);
    } else if (pointer.touch) {
      pointer.moved += Math.hypot(...step);
      this.#wheel += step[1] * 6;
      const steps = Math.trunc(this.#wheel / WHEEL_STEP);
      this.#wheel -= steps * WHEEL_STEP;
      if (steps) this.go(this.index + steps);
    } else this.#point(at);
    pointer.at = at;
    this.draw();
  }
}

export const measureLength = (grid, { ends }) => distance(...ends.map((end) => worldFromVoxel(grid, end)));

// The scan in three dimensions, from a preview of at most 256 voxels along each axis. For orientation, not for reading.

import { text } from "./dom.js";
import { clamp, count, voxelFromWorld } from "./viewer-space.js";

const SVG = document.createElementNS.bind(document, "http://www.w3.org/2000/svg");
const STEPS = 320;
/** While something moves, a coarser picture is there sooner. */
const MOVING = { steps: 110, pixels: 0.5 };
const SETTLED_MS = 180;
/** CT values between black and white of the maximum projection, and where bone begins and is opaque. */
const GRAY_HU = [-500, 1100];
const BONE_HU = [160, 500];

const VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0); }`;

// A ray for each pixel, through the box of the scan.
const FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler3D;
uniform sampler3D levels;
uniform vec3 size_mm, right, up, forward, texel;
uniform vec2 pixels, gray, bone;
uniform float mm_per_pixel, cut_mm;
uniform int steps, mode;
out vec4 color;
float at(vec3 place) { return texture(levels, place).r; }
void main() {
  vec2 place = (gl_FragCoord.xy - pixels * 0.5) * mm_per_pixel;
  vec3 start = right * place.x + up * place.y;
  vec3 inverse = 1.0 / mix(forward, vec3(1e-6), lessThan(abs(forward), vec3(1e-6)));
  vec3 a = (-size_mm * 0.5 - start) * inverse, b = (size_mm * 0.5 - start) * inverse;
  vec3 near = min(a, b), far = max(a, b);
  float first = max(max(max(near.x, near.y), near.z), cut_mm), last = min(min(far.x, far.y), far.z);
  color = vec4(0.0, 0.0, 0.0, 1.0);
  if (first >= last) return;
  vec3 from = (start + forward * first) / size_mm + 0.5, stride = forward * (last - first) / float(steps) / size_mm;
  if (mode == 0) {
    float most = 0.0;
    for (int i = 0; i < steps; i++) most = max(most, at(from + stride * (float(i) + 0.5)));
    color.rgb = vec3(clamp((most - gray.x) / (gray.y - gray.x), 0.0, 1.0));
    return;
  }
  vec3 sum = vec3(0.0);
  float through = 1.0, reach = length(stride * size_mm);
  for (int i = 0; i < steps && through > 0.02; i++) {
    vec3 here = from + stride * (float(i) + 0.5);
    float dense = clamp((at(here) - bone.x) / (bone.y - bone.x), 0.0, 1.0);
    if (dense <= 0.0) continue;
    vec3 slope = vec3(at(here + vec3(texel.x, 0, 0)) - at(here - vec3(texel.x, 0, 0)), at(here + vec3(0, texel.y, 0)) - at(here - vec3(0, texel.y, 0)), at(here + vec3(0, 0, texel.z)) - at(here - vec3(0, 0, texel.z))) / texel / size_mm;
    float light = length(slope) > 0.0 ? 0.3 + 0.7 * abs(dot(normalize(slope), forward)) : 0.5;
    float opaque = 1.0 - pow(1.0 - dense * 0.6, reach);
    sum += through * opaque * light * mix(vec3(0.82, 0.66, 0.55), vec3(0.96, 0.94, 0.88), dense);
    through *= 1.0 - opaque;
  }
  color.rgb = sum;
}`;

const dot = (a, b) => a.reduce((sum, value, axis) => sum + value * b[axis], 0);
/** Turns `a` towards `b`, which stands upright on it. */
const turn = (a, b, angle) => [a.map((value, axis) => value * Math.cos(angle) + b[axis] * Math.sin(angle)), b.map((value, axis) => value * Math.cos(angle) - a[axis] * Math.sin(angle))];

export class Volume {
  #context = null;
  #place = {};
  #zoom = 1;
  #moved = 0;
  #timer;
  #queued = false;

  constructor(element, scan, state) {
    [this.element, this.state] = [element, state];
    this.canvas = element.querySelector("canvas");
    this.svg = element.querySelector("svg");
    this.size = [0, 1, 2].map((axis) => count(state.grid, axis) * state.grid.spacing_mm_xyz[axis]);
    this.#turnToFront();
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(element);
    this.#start(scan);
  }

  restore() {
    this.#turnToFront();
    this.#zoom = 1;
    this.draw();
  }

  draw() {
    if (this.#queued || this.element.hidden || !this.#context) return;
    this.#queued = true;
    requestAnimationFrame(() => {
      this.#queued = false;
      this.#frame();
    });
  }

  /** Whether a key was ours. */
  key({ key, target, shiftKey }) {
    const angle = 0.15;
    const keys = {
      ArrowLeft: () => this.#rotate(-angle, 0),
      ArrowRight: () => this.#rotate(angle, 0),
      ArrowUp: () => this.#rotate(0, -angle),
      ArrowDown: () => this.#rotate(0, angle),
      "+": () => this.#scale(1.2),
      "=": () => this.#scale(1.2),
      "-": () => this.#scale(1 / 1.2),
    };
    if (!keys[key] || shiftKey || target !== this.element) return false;
    keys[key]();
    return true;
  }

  async #start(scan) {
    this.element.setAttribute("aria-busy", "true");
    const fail = (message) => {
      const trouble = this.element.querySelector(".trouble");
      [trouble.hidden, trouble.textContent] = [false, message];
    };
    const context = this.canvas.getContext("webgl2", { alpha: false, antialias: false });
    if (!context) fail(text("viewer.volume.unsupported"));
    else {
      try {
        const response = await fetch(`/api/scans/${scan}/preview?edition=${this.state.grid.edition}`);
        if (!response.ok) throw response.status;
        this.#prepare(context, new Uint8Array(await response.arrayBuffer()));
      } catch (status) {
        fail(text(typeof status === "number" ? "viewer.volume.trouble" : "offline", { status }));
      }
    }
    this.element.removeAttribute("aria-busy");
    this.draw();
  }

  #prepare(gl, levels) {
    const { grid } = this.state;
    const [depth, height, width] = grid.shape_zyx.map((voxels, axis) => Math.ceil(voxels / grid.preview.factors_zyx[axis]));
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "");
    gl.useProgram(program);
    gl.bindTexture(gl.TEXTURE_3D, gl.createTexture());
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.R8, width, height, depth, 0, gl.RED, gl.UNSIGNED_BYTE, levels);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) gl.texParameteri(gl.TEXTURE_3D, side, gl.CLAMP_TO_EDGE);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, filter, gl.LINEAR);
    const names = ["size_mm", "right", "up", "forward", "texel", "pixels", "gray", "bone", "mm_per_pixel", "cut_mm", "steps", "mode"];
    this.#place = Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
    const level = (hu) => (hu - grid.preview.low_hu) / grid.preview.step_hu / 255;
    gl.uniform3fv(this.#place.size_mm, this.size);
    gl.uniform3fv(this.#place.texel, [1 / width, 1 / height, 1 / depth]);
    gl.uniform2fv(this.#place.gray, GRAY_HU.map(level));
    gl.uniform2fv(this.#place.bone, BONE_HU.map(level));
    this.#context = gl;
  }

  /** From the front: the patient's right is on the left, the head above. The grid's axes are the patient's. */
  #turnToFront() {
    [this.right, this.up, this.forward] = [[1, 0, 0], [0, 0, 1], [0, 1, 0]];
  }

  #rotate(yaw, pitch) {
    // The finger pulls the side that is seen.
    [this.right, this.forward] = turn(this.right, this.forward, yaw);
    [this.up, this.forward] = turn(this.up, this.forward, -pitch);
    this.#moving();
  }

  #scale(factor) {
    this.#zoom = clamp(this.#zoom * factor, 0.4, 8);
    this.#moving();
  }

  #moving() {
    this.#moved = performance.now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.draw(), SETTLED_MS + 10);
    this.draw();
  }

  #frame() {
    const gl = this.#context;
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const moving = performance.now() - this.#moved < SETTLED_MS;
    const ratio = moving ? MOVING.pixels : Math.min(devicePixelRatio, 1.5);
    const [wide, high] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
    if (this.canvas.width !== wide || this.canvas.height !== high) [this.canvas.width, this.canvas.height] = [wide, high];
    const scale = (Math.min(width, height) / Math.hypot(...this.size)) * 1.25 * this.#zoom;
    const deep = this.size.reduce((sum, length, axis) => sum + Math.abs(this.forward[axis]) * length, 0);
    const cut = Number(document.getElementById("volume-cut").value);
    gl.viewport(0, 0, wide, high);
    for (const name of ["right", "up", "forward"]) gl.uniform3fv(this.#place[name], this[name]);
    gl.uniform2fv(this.#place.pixels, [wide, high]);
    gl.uniform1f(this.#place.mm_per_pixel, 1 / (scale * ratio));
    gl.uniform1f(this.#place.cut_mm, (cut - 0.5) * deep);
    gl.uniform1i(this.#place.steps, moving ? MOVING.steps : STEPS);
    gl.uniform1i(this.#place.mode, Number(document.getElementById("volume-mode").value));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    this.#overlay(width, height, scale);
  }

  #overlay(width, height, scale) {
    const { grid } = this.state;
    const screen = (fromCenter) => [width / 2 + dot(fromCenter, this.right) * scale, height / 2 - dot(fromCenter, this.up) * scale];
    const parts = [];
    const add = (name, attributes, content) => {
      const part = SVG(name);
      for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
      if (content) part.textContent = content;
      parts.push(part);
    };
    for (const mark of this.state.marks()) {
      const voxel = voxelFromWorld(grid, mark.center_mm_xyz);
      const fromCenter = voxel.map((index, axis) => (index + 0.5) * grid.spacing_mm_xyz[axis] - this.size[axis] / 2);
      const [cx, cy] = screen(fromCenter);
      const r = (mark.diameter_mm / 2) * scale + 3;
      const look = `mark ${mark.kind} ${mark.review ?? ""} ${mark.selected ? "selected" : ""}`;
      const [name, shape] = mark.kind === "annotation" ? ["rect", { x: cx - r, y: cy - r, width: 2 * r, height: 2 * r }] : ["circle", { cx, cy, r }];
      add(name, { class: `rim ${look}`, ...shape });
      add(name, { class: look, ...shape });
      if (mark.kind !== "annotation") add("text", { class: look, x: cx + r + 3, y: cy - r }, `N${mark.number}`);
    }
    // The patient's sides, where they are seen from the side rather than from behind.
    for (const [axis, letters] of [[0, "RL"], [1, "AP"], [2, "FH"]]) {
      for (const [at, sign] of [[0, -1], [1, 1]]) {
        const direction = [0, 0, 0];
        direction[axis] = sign;
        if (Math.abs(dot(direction, this.forward)) > 0.8) continue;
        const edge = direction.map((value) => value * this.size[axis] * 0.5 + 0);
        const [x, y] = screen(edge);
        add("text", { class: "letter-mark", x: clamp(x, 12, width - 12), y: clamp(y + 5, 18, height - 60), "text-anchor": "middle" }, letters[at]);
      }
    }
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...parts);
  }

  #listen() {
    const { element } = this;
    let last = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.target.closest(".volume-tools")) return;
      element.setPointerCapture(event.pointerId);
      last = [event.clientX, event.clientY];
    });
    element.addEventListener("pointermove", ({ clientX, clientY }) => {
      if (!last) return;
      this.#rotate((clientX - last[0]) / 150, (clientY - last[1]) / 150);
      last = [clientX, clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => (last = null));
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#scale(Math.exp(-event.deltaY / 500));
    }, { passive: false });
    document.getElementById("volume-mode").addEventListener("change", () => this.draw());
    document.getElementById("volume-cut").addEventListener("input", () => this.#moving());
  }
}

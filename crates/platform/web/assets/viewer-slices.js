// Slices from the server: the wanted one first, then its neighbours, and what was seen last stays in memory.

import { toLogin } from "./api.js";
import { AXES, count } from "./viewer-space.js";

const AHEAD = 8;
const PARALLEL = 4;
const KEPT_BYTES = 160 << 20;

export class Slices {
  #kept = new Map();
  #bytes = 0;
  #loading = new Map();
  #waiting = [];
  #address;
  #edition;
  #grid;

  constructor(scan, grid) {
    this.#address = `/api/scans/${scan}/slice`;
    // With it the browser may keep what it gets.
    this.#edition = `?edition=${grid.edition}`;
    this.#grid = grid;
  }

  /** The CT values of a slice if they are here. */
  ready(plane, index) {
    const key = `${plane}/${index}`;
    const values = this.#kept.get(key);
    if (values) {
      // Last in the map is used last.
      this.#kept.delete(key);
      this.#kept.set(key, values);
    }
    return values;
  }

  /** Resolves to the CT values; rejects with the status, 0 where there is no connection. */
  async load(plane, index) {
    return this.ready(plane, index) ?? this.#fetch(`${plane}/${index}`);
  }

  /** Fetches what comes next in the direction of `step`, then what comes before. */
  prefetch(plane, index, step) {
    const last = count(this.#grid, AXES[plane].across) - 1;
    const wanted = [];
    for (const direction of step < 0 ? [-1, 1] : [1, -1]) {
      for (let distance = 1; distance <= AHEAD; distance++) {
        const next = index + direction * distance;
        if (next >= 0 && next <= last) wanted.push(`${plane}/${next}`);
      }
    }
    // What an earlier place wanted is not wanted any more.
    this.#waiting = [...wanted, ...this.#waiting.filter((key) => !key.startsWith(`${plane}/`))];
    this.#pump();
  }

  #pump() {
    while (this.#loading.size < PARALLEL && this.#waiting.length) {
      const key = this.#waiting.shift();
      // A neighbour that cannot be had is asked for again when it is wanted itself.
      if (!this.#kept.has(key) && !this.#loading.has(key)) this.#fetch(key).catch(() => {});
    }
  }

  #fetch(key) {
    let loading = this.#loading.get(key);
    if (!loading) {
      loading = this.#get(key).finally(() => {
        this.#loading.delete(key);
        this.#pump();
      });
      this.#loading.set(key, loading);
    }
    return loading;
  }

  async #get(key) {
    let response;
    try {
      response = await fetch(`${this.#address}/${key}${this.#edition}`);
      if (response.ok) {
        const values = new Int16Array(await response.arrayBuffer());
        this.#keep(key, values);
        return values;
      }
    } catch {
      throw 0;
    }
    if (response.status === 401) return toLogin();
    throw response.status;
  }

  #keep(key, values) {
    this.#kept.set(key, values);
    this.#bytes += values.byteLength;
    for (const [oldest, { byteLength }] of this.#kept) {
      if (this.#bytes <= KEPT_BYTES) return;
      this.#kept.delete(oldest);
      this.#bytes -= byteLength;
    }
  }
}

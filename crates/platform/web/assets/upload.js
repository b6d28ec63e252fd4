// Sends files piece by piece (tus 1.0): a piece that does not arrive is sent again from where the server is.

import { text } from "./dom.js";
import { toLogin } from "./api.js";

const LEAST = 256 * 1024;
/** A piece should take about so long: short enough to lose little, long enough to lose no speed. */
const PIECE_MS = 1500;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30000;

/** An upload that failed for good; its message is for people. */
export class Refused extends Error {}

/**
 * Sends `file` to the upload, which may have some of it already.
 * `onProgress({ sent, bytes, waiting })` tells how far it is; `signal` gives it up.
 */
export async function send(id, file, most, hasherPath, onProgress, signal) {
  const hasher = new Worker(hasherPath, { type: "module" });
  try {
    await new Sending(id, file, most, hasher, onProgress, signal).run();
  } finally {
    hasher.terminate();
  }
}

class Sending {
  constructor(id, file, most, hasher, onProgress, signal) {
    Object.assign(this, { id, file, most, hasher, onProgress, signal });
    this.size = Math.min(most, 1024 * 1024);
    this.hashed = 0;
    this.wait = FIRST_WAIT_MS;
    this.restarts = 0;
  }

  async run() {
    let offset = await this.offset();
    while (offset !== null) offset = await this.next(offset);
  }

  /** Bytes that the server has; `null` where it needs no more. */
  async offset() {
    for (;;) {
      const answer = await this.request("HEAD");
      if (answer?.status === 200) {
        this.wait = FIRST_WAIT_MS;
        return Number(answer.headers.get("Upload-Offset"));
      }
      if (answer?.status === 404) throw new Refused(text("upload.gone"));
      await this.pause();
    }
  }

  /** Sends the piece at `offset`; where to go on. */
  async next(offset) {
    await this.skipTo(offset);
    const end = Math.min(this.file.size, offset + this.size);
    const last = end === this.file.size;
    const { bytes, piece, whole } = await this.hash(offset, end, last);
    const began = performance.now();
    const headers = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset), "Upload-Checksum": `sha256 ${piece}` };
    if (whole) headers["Repr-Digest"] = `sha-256=:${whole}:`;
    const answer = await this.request("PATCH", headers, bytes);
    if (answer?.status === 204) {
      const took = performance.now() - began;
      if (took < PIECE_MS / 2) this.size = Math.min(this.most, this.size * 2);
      if (took > PIECE_MS * 4) this.size = Math.max(LEAST, this.size / 2);
      this.wait = FIRST_WAIT_MS;
      this.hashed = end;
      this.onProgress({ sent: end, bytes: this.file.size, waiting: false });
      return last ? null : end;
    }
    await this.consider(answer);
    return this.offset();
  }

  /** What has gone wrong: worth another try, or the end. */
  async consider(answer) {
    if (answer && [403, 404, 413, 422, 507].includes(answer.status)) throw new Refused(await problem(answer));
    if (answer?.status === 409) {
      const { type } = await answer.clone().json();
      if (type.endsWith("wrong-state")) throw new Refused(await problem(answer));
      if (type.endsWith("file-changed") && ++this.restarts > 1) throw new Refused(await problem(answer));
      return;
    }
    if (answer?.status === 408 || !answer) this.size = Math.max(LEAST, this.size / 2);
    await this.pause();
  }

  async pause() {
    this.signal.throwIfAborted();
    this.onProgress({ sent: this.hashed, bytes: this.file.size, waiting: true });
    await new Promise((resolve) => setTimeout(resolve, this.wait));
    this.wait = Math.min(LONGEST_WAIT_MS, this.wait * 2);
  }

  async request(method, headers = {}, body) {
    this.signal.throwIfAborted();
    const csrf = document.querySelector("meta[name=csrf-token]").content;
    const all = { ...headers, "Tus-Resumable": "1.0.0", "X-CSRF-Token": csrf, Accept: "application/json" };
    try {
      const answer = await fetch(`/api/uploads/${this.id}`, { method, headers: all, body, signal: this.signal });
      return answer.status === 401 ? await toLogin() : answer;
    } catch {
      this.signal.throwIfAborted();
      return null;
    }
  }

  /** The hash of the whole file must have seen everything before `offset`, sent by this page or by an earlier one. */
  async skipTo(offset) {
    if (offset < this.hashed) this.hashed = 0;
    while (this.hashed < offset) {
      this.signal.throwIfAborted();
      const end = Math.min(offset, this.hashed + this.most);
      await this.hash(this.hashed, end, false);
      this.hashed = end;
      this.onProgress({ sent: end, bytes: this.file.size, waiting: false });
    }
  }

  async hash(start, end, last) {
    let bytes;
    try {
      bytes = await this.file.slice(start, end).arrayBuffer();
    } catch {
      // The file was changed, moved or taken away since it was chosen.
      throw new Refused(text("upload.unreadable"));
    }
    return new Promise((resolve, reject) => {
      this.hasher.onmessage = ({ data }) => resolve(data);
      this.hasher.onerror = () => reject(new Refused(text("upload.unreadable")));
      this.hasher.postMessage({ bytes, start, last }, [bytes]);
    });
  }
}

async function problem(answer) {
  try {
    const { title, detail } = await answer.json();
    return detail || title;
  } catch {
    return text("unexpected");
  }
}

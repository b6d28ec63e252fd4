// Check sums away from the page's own thread: of each piece, and of the whole file as its pieces pass in order.

import { sha256 } from "./sha2.js";

/** Of everything before `at`; and the same for the piece before, which may have to be sent again. */
let now = { at: 0, whole: sha256.create() };
let before = now;

/** `{ bytes, start, last }` → `{ bytes, piece, whole }`, sums as base64; `whole` with the last piece only. */
addEventListener("message", async ({ data: { bytes, start, last } }) => {
  if (start === 0) now = { at: 0, whole: sha256.create() };
  else if (start === before.at) now = before;
  else if (start !== now.at) throw new Error("a piece is missing before this one");
  before = { at: now.at, whole: now.whole.clone() };
  const piece = new Uint8Array(bytes);
  now = { at: start + piece.length, whole: now.whole.clone().update(piece) };
  // Browsers do it themselves on https and on the machine itself only.
  const sum = globalThis.crypto?.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)) : sha256(piece);
  postMessage({ bytes, piece: base64(sum), whole: last ? base64(now.whole.clone().digest()) : null }, [bytes]);
});

function base64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

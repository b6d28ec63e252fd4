// What happens, in its order: heard by Socket.IO, or asked for where no socket can be had. What comes is known by its number, so
// nothing is missed or heard twice, whatever the connection does.

import { call } from "./api.js";
import { leaving } from "./dom.js";
import { io } from "./socket.io.js";

const WAIT_SECONDS = 5;
const AFTER_FAILURE_MS = 2000;
/** A proxy that lets no socket through is told by so many failures; then the server is asked instead. */
const TRIES = 3;
const listeners = new Map();
/** The newest number that is known; `null` before anything is. */
let last = null;
let socket = null;
let failures = 0;
let asking = false;
/** What is heard while it is found out what was missed before. */
let held = null;

/**
 * Calls `callback` with every event of this kind from now on: `{ number, at, kind, payload }`; with `null` where some were missed.
 * Progress, which is not stored, has no number.
 */
export function subscribe(kind, callback) {
  listeners.set(kind, [...(listeners.get(kind) ?? []), callback]);
}

/** Every page of somebody who is signed in does so once: that is also how it is known who is there. */
export function goLive() {
  socket = io({ transports: ["websocket", "polling"], closeOnBeforeunload: true });
  socket.on("connect", caughtUp);
  socket.on("event", (event) => (held ? held.push(event) : take([event])));
  socket.on("progress", (event) => tell(event));
  socket.on("gap", caughtUp);
  socket.on("connect_error", () => {
    failures++;
    if (failures >= TRIES && !asking) ask();
  });
  socket.on("disconnect", (reason) => {
    if (reason === "io server disconnect") setTimeout(comeBack, AFTER_FAILURE_MS);
  });
}

/** The session has ended, or the server has: whoever is still signed in comes back, and whoever has logged out is gone. */
async function comeBack() {
  if (leaving) return;
  await call("GET", "/api/session");
  socket.connect();
}

/** After each connection: what was missed, then what was heard meanwhile. */
async function caughtUp() {
  failures = 0;
  if (held) return;
  held = [];
  try {
    for (let more = true; more; ) {
      const answer = await socket.timeout(10_000).emitWithAck("since", last ?? 0);
      if (!answer) throw new Error("no answer");
      more = hear(answer);
    }
    const heard = held;
    held = null;
    take(heard);
  } catch {
    held = null;
    // Connected anew, it asks again.
    socket.disconnect().connect();
  }
}

/** Takes an answer of the server; whether there is more. */
function hear({ events, newest, more, gap }) {
  // The first answer only tells where to begin: the page itself shows what was before.
  if (last === null) {
    last = newest;
    return false;
  }
  if (gap) {
    last = newest;
    for (const callback of new Set([...listeners.values()].flat())) callback(null);
    return false;
  }
  take(events);
  if (!more) last = Math.max(last, newest);
  return more;
}

function take(events) {
  for (const event of events) {
    if (last !== null && event.number <= last) continue;
    last = event.number;
    tell(event);
  }
}

function tell(event) {
  for (const callback of listeners.get(event.kind) ?? []) callback(event);
}

/** Without a socket. */
async function ask() {
  asking = !socket.connected;
  if (!asking) return;
  const where = last === null ? "since=0&limit=1" : `since=${last}&limit=500&wait=${WAIT_SECONDS}`;
  const answer = await call("GET", `/api/events?${where}`);
  if (answer.ok) hear(answer.body);
  setTimeout(ask, answer.ok ? 0 : AFTER_FAILURE_MS);
}

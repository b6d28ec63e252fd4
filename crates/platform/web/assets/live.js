// What happens, in its order: events are asked for by number, so none is missed or heard twice, whatever the connection does.

import { call } from "./api.js";

const WAIT_SECONDS = 5;
const AFTER_FAILURE_MS = 2000;
const listeners = new Map();
let last = null;

/** Calls `callback` with every event of this kind from now on: `{ number, at, kind, payload }`; with `null` where some were missed. */
export function subscribe(kind, callback) {
  if (listeners.size === 0) setTimeout(ask, 0);
  listeners.set(kind, [...(listeners.get(kind) ?? []), callback]);
}

async function ask() {
  const where = last === null ? "since=0&limit=1" : `since=${last}&limit=500&wait=${WAIT_SECONDS}`;
  const answer = await call("GET", `/api/events?${where}`);
  if (answer.ok) {
    const { events, newest, more, gap } = answer.body;
    // The first question only finds out where to begin: the page itself shows what was before.
    if (last === null) last = newest;
    else if (gap) {
      last = newest;
      for (const callback of new Set([...listeners.values()].flat())) callback(null);
    } else {
      for (const event of events) for (const callback of listeners.get(event.kind) ?? []) callback(event);
      last = more ? events.at(-1).number : newest;
    }
  }
  setTimeout(ask, answer.ok ? 0 : AFTER_FAILURE_MS);
}

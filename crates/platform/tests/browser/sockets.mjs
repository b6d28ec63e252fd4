// An ordinary Socket.IO client of JavaScript tells what it hears, a line for each thing. Arguments: the server's address, the cookie,
// the transport.

import { createRequire } from "node:module";
import { join } from "node:path";

const { io } = createRequire(join(process.env.FEDNODULE_NODE_MODULES, "x.js"))("socket.io-client");
const [base, cookie, transport] = process.argv.slice(2);
const say = (...words) => console.log(words.join(" "));

const socket = io(base, { transports: [transport], extraHeaders: { Cookie: cookie, Origin: base }, reconnection: false });
socket.on("connect", () => {
  socket.emit("nonsense", { a: [1] }, "b");
  socket.emit("since", "no number");
  socket.emit("since", 0, ({ events, newest, gap, more }) => say("connected", events.length, newest, gap, more));
});
socket.on("event", ({ number, kind, payload }) => say("event", number, kind, JSON.stringify(payload)));
socket.on("progress", ({ kind, payload }) => say("progress", kind, JSON.stringify(payload)));
socket.on("connect_error", (error) => {
  say("refused", error.message);
  process.exit(0);
});
socket.on("disconnect", (reason) => {
  say("disconnected", reason);
  process.exit(0);
});

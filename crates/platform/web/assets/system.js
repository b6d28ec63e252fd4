// The machine on the overview, asked for again while somebody looks.

import { call } from "./api.js";
import { text } from "./dom.js";

const AGAIN_MS = 5000;
const gib = (bytes) => (bytes / 2 ** 30).toFixed(1);

function draw({ cpus, cpu_percent, memory_used_bytes, memory_bytes, own_memory_bytes, disk_free_bytes, disk_bytes, gpus }) {
  const put = (name, words) => (document.querySelector(`[data-machine=${name}]`).textContent = words);
  put("cpu", text("machine.cpu", { percent: cpu_percent.toFixed(0), cpus }));
  put("memory", text("machine.memory", { used: gib(memory_used_bytes), all: gib(memory_bytes), own: Math.round(own_memory_bytes / 2 ** 20) }));
  put("disk", text("machine.disk", { free: gib(disk_free_bytes), all: gib(disk_bytes) }));
  put("gpu", gpus.length ? gpus.join(", ") : text("machine.no_gpu"));
}

async function load() {
  const answer = await call("GET", "/api/system");
  if (answer.ok) draw(answer.body.machine);
}

setInterval(() => !document.hidden && load(), AGAIN_MS);
await load();

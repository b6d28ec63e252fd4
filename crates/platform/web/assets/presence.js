// Who has a page open now, on the page of users.

import { call } from "./api.js";
import { text } from "./dom.js";
import { subscribe } from "./live.js";
import { chip } from "./make.js";

function draw(online) {
  const connections = new Map(online.map(({ username, connections }) => [username, connections]));
  for (const place of document.querySelectorAll("[data-online]")) {
    const count = connections.get(place.dataset.online);
    place.replaceChildren(count ? chip("good", "check", text("presence.online", { count })) : chip("", "off", text("presence.offline")));
  }
}

async function load() {
  const answer = await call("GET", "/api/presence");
  if (answer.ok) draw(answer.body.online);
}

subscribe("presence.changed", (event) => (event ? draw(event.payload.online) : load()));
await load();

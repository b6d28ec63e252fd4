// Requests to the server. A refusal is a problem document (RFC 9457).

import { text } from "./dom.js";

/** Whose session has ended must log in; the page that was open comes back then. */
export function toLogin() {
  location.assign(`/login?next=${location.pathname}`);
  return new Promise(() => {});
}

/** Sends a value as JSON, a file as it is. Resolves to `{ ok, status, body }`; where not ok, `body` has `title`, `detail` and perhaps `errors`. */
export async function call(method, path, body) {
  const csrf = document.querySelector("meta[name=csrf-token]")?.content;
  const headers = { Accept: "application/json" };
  if (csrf) headers["X-CSRF-Token"] = csrf;
  const isFile = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = isFile ? "text/csv" : "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined || isFile ? body : JSON.stringify(body) });
  } catch {
    return { ok: false, status: 0, body: { title: text("offline"), detail: "" } };
  }
  if (response.status === 401) return toLogin();
  const content = await response.text();
  try {
    return { ok: response.ok, status: response.status, body: content ? JSON.parse(content) : {} };
  } catch {
    return { ok: false, status: response.status, body: { title: text("unexpected"), detail: "" } };
  }
}

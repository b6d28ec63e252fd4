// Texts, short messages and times.

const texts = JSON.parse(document.getElementById("texts").textContent);

/** A text of the catalogue with `{names}` filled in. */
export function text(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Shows a line at the edge of the page for a few seconds. */
export function toast(message, kind = "good") {
  const line = document.createElement("p");
  line.className = `toast ${kind}`;
  line.textContent = message;
  document.getElementById("toasts").append(line);
  setTimeout(() => line.remove(), 6000);
}

/** Whether this page is on its way to another one. */
export let leaving = false;

/** Goes to another page and says something there. */
export function go(path, message) {
  leaving = true;
  if (message) sessionStorage.setItem("flash", message);
  if (path === location.pathname) location.reload();
  else location.assign(path);
}

export function showFlash() {
  const message = sessionStorage.getItem("flash");
  sessionStorage.removeItem("flash");
  if (message) toast(message);
}

/** A moment in the reader's own time zone. */
export function localTime(moment) {
  const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  // Swedish writes dates as ISO 8601 does, which both languages read.
  return new Intl.DateTimeFormat("sv-SE", options).format(new Date(moment));
}

export function localiseTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.title = time.textContent;
    time.textContent = localTime(time.dateTime);
  }
}

// Making parts of a page.

import { text } from "./dom.js";

/** An element with attributes and children; texts become text, never markup. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A drawing that the page brought along. */
export function icon(name) {
  return document.querySelector(`template[data-icon="${name}"]`)?.content.cloneNode(true) ?? "";
}

export function chip(kind, drawing, words) {
  return el("span", { class: `chip ${kind}` }, icon(drawing), words);
}

export function number(value, digits = 4) {
  return value === null || value === undefined ? "—" : value.toFixed(digits);
}

/** A length of time in words. */
export function duration(ms) {
  const minutes = Math.round(ms / 60000);
  if (ms < 90000) return text("time.seconds", { seconds: Math.max(1, Math.round(ms / 1000)) });
  if (minutes < 90) return text("time.minutes", { minutes });
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return text("time.hours", { hours, minutes: minutes % 60 });
  return text("time.days", { days: Math.floor(hours / 24), hours: hours % 24 });
}

// The form that starts a training: all problems at once, and an estimate while typing.

import { call } from "./api.js";
import { go, text } from "./dom.js";
import { mark, showProblem } from "./forms.js";
import { duration } from "./make.js";

const NUMBERS = ["rounds", "local_epochs", "patches_per_epoch", "learning_rate", "batch_size", "patch_size", "seed", "minimum_sites", "min_lung_ml", "privacy_clip", "privacy_epsilon", "privacy_delta"];

// From so many sites on a sum hides its parts.
const LEAST_SITES = 3;

export function wireLaunch() {
  const form = document.querySelector("[data-launch]");
  if (!form) return;
  const speeds = JSON.parse(form.dataset.speeds);
  const value = (name) => form.elements[name].value.trim();
  const participants = () => [...form.querySelectorAll("[name=participants]:checked")].map((box) => box.value);
  // What is no number is sent as it is: the server says what would do.
  const number = (name) => (value(name) === "" ? "" : Number(value(name)));

  function estimate() {
    const sites = participants().length;
    const protection = form.querySelector("[data-launch-protection]");
    if (protection) protection.textContent = sites ? text(sites >= LEAST_SITES ? "launch.protection.secure" : "launch.protection.sealed", { sites }) : "";
    const known = speeds.find((speed) => speed.network === value("network") && speed.patch_size === number("patch_size"));
    const line = form.querySelector("[data-estimate]");
    const detail = form.querySelector("[data-estimate-detail]");
    if (!known || !sites) {
      line.textContent = text(sites ? "estimate.none" : "estimate.nobody");
      detail.textContent = sites ? text("estimate.none.detail") : "";
      return;
    }
    const round = known.ms_per_patch * sites * number("local_epochs") * number("patches_per_epoch");
    line.textContent = text("estimate", { time: duration(round * number("rounds")) });
    detail.textContent = text("estimate.detail", { round: duration(round), rounds: known.rounds, network: known.network.toUpperCase(), patch: known.patch_size });
  }

  const models = form.elements.initial_model;
  // A model goes on as the network that it is.
  models.addEventListener("input", () => {
    const { network } = models.selectedOptions[0].dataset;
    if (network) form.elements.network.value = network;
  });
  form.addEventListener("input", (event) => {
    mark(event.target, "");
    document.getElementById("participants-error").textContent = "";
    estimate();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    showProblem(form, null);
    for (const place of form.querySelectorAll(".error")) place.textContent = "";
    for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    const body = Object.fromEntries(NUMBERS.map((name) => [name, number(name)]));
    const minutes = number("deadline_minutes");
    body.round_deadline_s = minutes === "" ? null : Math.round(minutes * 60);
    body.privacy_noise = value("privacy_noise") === "" ? null : number("privacy_noise");
    body.initial_model = value("initial_model") === "" ? null : Number(value("initial_model"));
    Object.assign(body, { algorithm: value("algorithm"), network: value("network"), sampling: value("sampling"), note: value("note"), participants: participants() });
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    const answer = await call("POST", "/api/trainings", body);
    button.disabled = false;
    if (answer.ok) return go(`/trainings/${answer.body.id}`, text("launched"));
    const errors = answer.body.errors ?? [];
    for (const { field, message } of errors) {
      const place = document.getElementById(`${field}-error`);
      place.textContent = [place.textContent, message].filter(Boolean).join(" ");
      const input = document.getElementById(field === "round_deadline_s" ? "deadline_minutes" : field);
      input?.setAttribute("aria-invalid", "true");
      const folded = input?.closest("details");
      if (folded) folded.open = true;
    }
    if (!errors.length) return showProblem(form, answer.body);
    showProblem(form, { title: answer.body.title, detail: answer.body.detail });
    (form.querySelector("[aria-invalid]") ?? form.querySelector("[name=participants]"))?.focus();
  });
  estimate();
}

// The list of trainings: finding, choosing, comparing; rows follow what happens.

import { call } from "./api.js";
import { choice, lineChart } from "./charts.js";
import { localTime, text } from "./dom.js";
import { el, number } from "./make.js";
import { follow, stateChip } from "./training.js";

const OVER = ["completed", "failed", "cancelled"];
const SEVERAL = 8;

export function wireTrainings() {
  const root = document.querySelector("[data-trainings]");
  if (!root) return;
  const rows = [...root.querySelectorAll("tbody tr")];
  const boxes = rows.map((row) => row.querySelector("input[type=checkbox]"));
  const find = root.querySelector("[data-find]");
  const state = root.querySelector("[data-state-filter]");
  const compare = root.querySelector("[data-compare]");
  const table = root.querySelector("[data-export]");

  const matches = (row) => {
    const shown = { pausing: "running", stopping: "running" }[row.dataset.state] ?? row.dataset.state;
    return row.dataset.search.includes(find.value.trim().toLowerCase()) && (!state.value || state.value === shown);
  };
  const chosen = () => boxes.filter((box) => box.checked && !box.closest("tr").hidden).map((box) => box.value);
  const update = () => {
    for (const row of rows) row.hidden = !matches(row);
    root.querySelector("[data-none]").hidden = rows.some((row) => !row.hidden);
    const ids = chosen();
    compare.disabled = ids.length < 2 || ids.length > SEVERAL;
    const visible = rows.filter((row) => !row.hidden).map((row) => row.dataset.id);
    table.href = `/api/trainings/export?ids=${(ids.length ? ids : visible).join(",")}`;
  };
  find.addEventListener("input", update);
  state.addEventListener("input", update);
  for (const box of boxes) box.addEventListener("input", update);
  compare.addEventListener("click", () => location.assign(`/trainings/compare?ids=${chosen().join(",")}`));
  update();

  follow(async () => {
    if (rows.every((row) => OVER.includes(row.dataset.state))) return;
    const answer = await call("GET", "/api/trainings");
    if (!answer.ok) return;
    for (const training of answer.body.trainings) {
      const row = rows.find((known) => known.dataset.id === String(training.id));
      if (!row) continue;
      if (row.dataset.state !== training.state) {
        row.dataset.state = training.state;
        row.querySelector("[data-chip] .chip").replaceWith(stateChip(training.state));
      }
      row.querySelector("[data-rounds]").textContent = `${training.completed_rounds} / ${training.rounds}`;
      row.querySelector("[data-loss]").textContent = number(training.loss);
      row.querySelector("[data-probability]").textContent = number(training.foreground_probability);
      if (training.model) row.querySelector("[data-model]").replaceChildren(el("a", { href: "/models" }, `v${training.model}`));
    }
    update();
  }, () => 3_000);
}

/** Some trainings beside each other: the curves of the whole, and what was set differently. */
export async function wireComparison() {
  const root = document.querySelector("[data-comparison]");
  if (!root) return;
  const ids = (new URLSearchParams(location.search).get("ids") ?? "").split(",").filter((id) => /^\d+$/.test(id)).slice(0, SEVERAL).sort((a, b) => a - b);
  const answers = await Promise.all(ids.map((id) => call("GET", `/api/trainings/${id}`)));
  const views = answers.filter((answer) => answer.ok).map((answer) => answer.body);
  document.querySelector("[data-export]").href = `/api/trainings/export?ids=${views.map((view) => view.id).join(",")}`;
  root.querySelector("[data-none]").hidden = views.length > 0;
  for (const section of root.querySelectorAll("section")) section.hidden = !views.length;
  if (!views.length) return;

  const chart = lineChart(root.querySelector("[data-chart]"));
  const draw = (curve) => {
    const lines = views.map((view) => ({
      name: `#${view.id} ${view.algorithm} ${view.network.toUpperCase()}`,
      points: view.round_records.filter((record) => record[curve] !== null).map((record) => ({ x: record.round, y: record[curve] })),
    }));
    chart.show(lines, text("curve." + curve), Math.max(...views.map((view) => view.rounds)));
  };
  draw(choice(root, "curve", draw));

  const h = (view) => view.config.hyperparameters;
  const seconds = (view) => view.round_records.reduce((sum, record) => sum + (record.ms ?? 0), 0) / 1000;
  const rows = {
    state: (view) => text("state." + view.state),
    rounds: (view) => `${view.completed_rounds} / ${view.rounds}`,
    loss: (view) => number(view.loss),
    probability: (view) => number(view.foreground_probability),
    seconds: (view) => seconds(view).toFixed(1),
    algorithm: (view) => view.algorithm,
    network: (view) => view.network.toUpperCase(),
    local_epochs: (view) => String(h(view).local_epochs),
    patches_per_epoch: (view) => String(h(view).patches_per_epoch),
    learning_rate: (view) => String(h(view).learning_rate),
    batch_size: (view) => String(h(view).batch_size),
    patch_size: (view) => String(h(view).patch_size),
    seed: (view) => String(h(view).seed),
    initial: (view) => (view.initial_model ? `v${view.initial_model}` : "—"),
    participants: (view) => view.participants.map((participant) => participant.institution).join("、"),
    model: (view) => (view.model ? `v${view.model}` : "—"),
    started: (view) => (view.started_at ? localTime(view.started_at) : "—"),
  };
  root.querySelector("[data-table]").replaceChildren(
    el("thead", {}, el("tr", {}, el("td"), views.map((view) => el("th", { scope: "col" }, el("a", { href: `/trainings/${view.id}` }, `#${view.id}`))))),
    el("tbody", {}, Object.entries(rows).map(([name, value]) => {
      const values = views.map(value);
      const differs = new Set(values).size > 1;
      return el("tr", { class: differs ? "differs" : null }, el("th", { scope: "row" }, text("compare." + name)), values.map((shown) => el("td", { class: "number" }, shown)));
    })),
  );
}

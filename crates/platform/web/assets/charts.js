// Line charts of rounds. A line has a colour and a dash; the whole federation's is thick and in the colour of the text.

import "./chart.js";
import { text } from "./dom.js";

const { Chart } = globalThis;
const LIGHT = ["#0b7285", "#c2410c", "#6741d9", "#2b7a1f", "#c2255c", "#1864ab", "#5f3dc4", "#495057"];
const DARK = ["#4cc2d6", "#ff9f6b", "#b197fc", "#8ce99a", "#faa2c1", "#74c0fc", "#d0bfff", "#ced4da"];
const DASHES = [[], [9, 5], [2, 4], [10, 4, 2, 4], [16, 5], [5, 5], [1, 3], [12, 3, 2, 3, 2, 3]];
const night = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { ink: of("--ink"), soft: of("--ink-soft"), line: of("--line-soft"), series: night.matches ? DARK : LIGHT };
}

/** Entries that show the dash, too; the whole federation comes last. */
function legend(chart, ink) {
  const entries = chart.data.datasets.map((line, datasetIndex) => ({
    text: line.label,
    datasetIndex,
    hidden: !chart.isDatasetVisible(datasetIndex),
    fontColor: ink,
    strokeStyle: line.borderColor,
    fillStyle: line.borderColor,
    lineWidth: line.borderWidth,
    lineDash: line.borderDash,
    pointStyle: "line",
  }));
  return entries.sort((a, b) => a.lineWidth - b.lineWidth || a.datasetIndex - b.datasetIndex);
}

/** A chart on a canvas; `show` takes lines `{ name, points: [{x, y}], whole }` and the words of the vertical axis. */
export function lineChart(canvas) {
  let chart = null;
  let last = null;
  const draw = () => {
    if (!last) return;
    const { lines, title, rounds } = last;
    const { ink, soft, line, series } = colours();
    let place = 0;
    const datasets = lines.map(({ name, points, whole }) => {
      const at = whole ? 0 : place++;
      const colour = whole ? ink : series[at % series.length];
      return {
        label: name,
        data: points,
        borderColor: colour,
        backgroundColor: colour,
        borderWidth: whole ? 4 : 2,
        borderDash: whole ? [] : DASHES[at % DASHES.length],
        pointRadius: points.length > 1 ? 2 : 4,
        order: whole ? 0 : 1,
        tension: 0.2,
      };
    });
    const font = { family: getComputedStyle(document.body).fontFamily };
    const options = {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      scales: {
        x: { type: "linear", min: 1, max: Math.max(rounds, 2), title: { display: true, text: text("curve.round"), color: soft, font }, ticks: { stepSize: 1, precision: 0, color: soft }, grid: { display: false } },
        y: { beginAtZero: true, title: { display: true, text: title, color: soft, font }, ticks: { color: soft }, grid: { color: line } },
      },
      plugins: {
        legend: { position: "bottom", labels: { color: ink, font, usePointStyle: true, pointStyleWidth: 40, generateLabels: (drawn) => legend(drawn, ink) } },
        tooltip: { callbacks: { title: (items) => text("training.round", { round: items[0]?.parsed.x ?? "" }), label: (item) => `${item.dataset.label}: ${item.parsed.y.toFixed(4)}` } },
      },
    };
    if (chart) {
      chart.data.datasets = datasets;
      chart.options = options;
      chart.update("none");
    } else {
      chart = new Chart(canvas, { type: "line", data: { datasets }, options });
    }
  };
  night.addEventListener("change", draw);
  return {
    show(lines, title, rounds) {
      last = { lines, title, rounds };
      draw();
    },
  };
}

/** Buttons of which one is pressed. */
export function choice(root, attribute, changed) {
  const buttons = [...root.querySelectorAll(`[data-${attribute}]`)];
  const press = (button) => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    changed(button.dataset[attribute]);
  };
  for (const button of buttons) button.addEventListener("click", () => press(button));
  return buttons.find((button) => button.getAttribute("aria-pressed") === "true")?.dataset[attribute];
}

// A training, live: the page asks for its state again whenever something happened, so it is exact after a reload and after
// a lost connection. An institution's answer holds only what it may see.

import { call } from "./api.js";
import { choice, lineChart } from "./charts.js";
import { localTime, text, toast } from "./dom.js";
import { subscribe } from "./live.js";
import { chip, duration, el, icon, number } from "./make.js";

const OVER = ["completed", "failed", "cancelled"];
const STATES = {
  queued: ["", "clock"], running: ["accent", "play"], pausing: ["wait", "pause"], paused: ["wait", "pause"], stopping: ["wait", "pause"],
  completed: ["good", "check"], failed: ["bad", "warning"], cancelled: ["bad", "off"],
};
const DOING = {
  waiting: ["", "clock"], preparing: ["accent", "play"], ready: ["good", "check"], unusable: ["bad", "warning"], training: ["accent", "play"],
  reported: ["good", "check"], evaluating: ["accent", "play"], evaluated: ["good", "check"], late: ["wait", "clock"], excluded: ["bad", "warning"], dropped: ["bad", "off"],
};
const OUTCOMES = { open: ["", "clock"], trained: ["good", "check"], late: ["wait", "clock"], excluded: ["bad", "warning"], dropped: ["bad", "off"] };

export const stateChip = (state) => chip(...STATES[state], text("state." + state));

/** Follows the training of the page; `next` decides how long to wait before the next question, in milliseconds. */
export function wireTraining() {
  const root = document.querySelector("[data-training]");
  if (!root) return;
  const find = (selector) => root.querySelector(selector);
  const chart = find("[data-chart]") && lineChart(find("[data-chart]"));
  let view = null;
  let curve = choice(root, "curve", (chosen) => {
    curve = chosen;
    if (view) drawCurves();
  });

  const institution = (site) => view.participants.find((participant) => participant.site === site)?.institution ?? site;
  const set = (name, value) => {
    const place = find(`[data-figure="${name}"]`);
    if (place) place.textContent = value;
  };

  function drawFigures() {
    const { id, state, round, rounds, completed_rounds: done, sites } = view;
    const own = Object.values(sites);
    set("task", text("training.task", { id, state: text("state." + state) }));
    set("round", round ? text("training.round_of", { round, rounds }) : text("stage." + view.stage));
    // A round in the middle counts with what its sites have done.
    const busy = own.filter((site) => site.total > 0);
    const part = view.stage === "training" && busy.length ? busy.reduce((sum, site) => sum + site.done / site.total, 0) / own.length : 0;
    const percent = OVER.includes(state) && state !== "completed" ? (100 * done) / rounds : Math.min(100, (100 * (done + part)) / rounds);
    const bar = find("[data-progress]");
    bar.setAttribute("aria-valuenow", String(Math.round(percent)));
    bar.firstElementChild.style.width = `${percent}%`;
    set("loss", number(view.loss));
    const last = view.round_records.filter((record) => record.ms !== null).at(-1);
    set("loss-kind", last ? text(last.evaluation_loss === null ? "curve.training_loss" : "curve.evaluation_loss") : "");
    set("probability", number(view.foreground_probability, 3));
    set("reported", `${own.filter(({ doing }) => ["reported", "evaluating", "evaluated"].includes(doing)).length} / ${own.length}`);
    set("mine", own.length ? doingWords(own[0]) : "—");
    const waits = state === "queued" && view.place;
    set("eta", waits ? text("training.place", { place: view.place }) : view.eta_ms === null ? "—" : duration(view.eta_ms));
    const unknown = ["running", "queued"].includes(state) ? text("eta.unknown") : "";
    set("eta-from", view.eta_ms === null ? unknown : text("eta." + view.eta_from));
    find("[data-figures]").setAttribute("aria-busy", "false");
  }

  function doingWords(site) {
    const percent = site.total > 0 ? ` ${Math.floor((100 * site.done) / site.total)}%` : "";
    return text("doing." + site.doing) + percent;
  }

  function lines() {
    const global = view.round_records.filter((record) => record[curve] !== null);
    const names = view.participants.map((participant) => participant.site);
    const own = names.map((site) => ({
      name: institution(site),
      points: view.round_records.filter((record) => (record.sites[site]?.[curve] ?? null) !== null).map((record) => ({ x: record.round, y: record.sites[site][curve] })),
    }));
    return [...own.filter((line) => line.points.length), { name: text("curve.global"), whole: true, points: global.map((record) => ({ x: record.round, y: record[curve] })) }];
  }

  function drawCurves() {
    if (!chart) return;
    const shown = lines();
    const any = shown.some((line) => line.points.length);
    find("[data-no-curve]").hidden = any;
    find("[data-chart]").hidden = !any;
    if (any) chart.show(shown, text("curve." + curve), view.rounds);
    const rounds = view.round_records.map((record) => record.round);
    const row = (line) => el("tr", {}, el("th", { scope: "row" }, line.name), rounds.map((round) => el("td", { class: "number" }, number(line.points.find((point) => point.x === round)?.y))));
    find("[data-curve-table]").replaceChildren(
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, text("curve." + curve)), rounds.map((round) => el("th", { scope: "col", class: "number" }, String(round))))),
      el("tbody", {}, shown.map(row)),
    );
  }

  function drawSites() {
    const body = find("[data-sites]");
    if (!body) return;
    const record = view.round_records.filter((known) => Object.keys(known.sites).length).at(-1);
    const rows = view.participants.map(({ site, institution: name, scans, nodules }) => {
      const now = view.sites[site];
      const past = record?.sites[site];
      const label = (key) => body.closest("table").tHead.rows[0].cells[key].textContent;
      const cell = (at, words) => el("td", { class: "number end", "data-label": label(at) }, words);
      const progress = now.total > 0 && el("span", { class: "bar small", "aria-hidden": "true" }, el("i", { "data-width": now.done / now.total }));
      const reason = now.reason ?? past?.reason;
      return el(
        "tr", {},
        el("th", { scope: "row" }, el("span", { class: "name" }, name), " ", el("span", { class: "quiet" }, site)),
        el("td", { "data-label": label(1) }, el("span", { class: "doing" }, chip(...DOING[now.doing], doingWords(now)), progress, reason && el("span", { class: "quiet" }, reason))),
        cell(2, String(now.scans ?? scans)), cell(3, String(now.nodules ?? nodules)), cell(4, past?.examples ? String(past.examples) : "—"),
        cell(5, past?.share ? `${(100 * past.share).toFixed(1)}%` : "—"), cell(6, number(now.loss ?? past?.training_loss)),
      );
    });
    body.replaceChildren(...rows);
    for (const bar of body.querySelectorAll("[data-width]")) bar.style.width = `${100 * bar.dataset.width}%`;
  }

  function drawParticipation() {
    const table = find("[data-participation]");
    if (!table) return;
    const rounds = Array.from({ length: view.rounds }, (_, at) => at + 1);
    const mark = (site, round) => {
      const known = view.round_records.find((record) => record.round === round)?.sites[site];
      if (!known) return el("td", { class: "none" }, el("span", { class: "visually-hidden" }, text("outcome.none")));
      const [kind, drawing] = OUTCOMES[known.outcome];
      const words = [text("outcome." + known.outcome), known.reason].filter(Boolean).join(": ");
      return el("td", {}, el("span", { class: `mark ${kind}`, title: words }, icon(drawing), el("span", { class: "visually-hidden" }, words)));
    };
    table.replaceChildren(
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, text("curve.round")), rounds.map((round) => el("th", { scope: "col", class: "number" }, String(round))))),
      el("tbody", {}, view.participants.map(({ site, institution: name }) => el("tr", {}, el("th", { scope: "row" }, name), rounds.map((round) => mark(site, round))))),
    );
    find("[data-legend]").replaceChildren(...Object.entries(OUTCOMES).map(([outcome, [kind, drawing]]) => chip(kind, drawing, text("outcome." + outcome))));
  }

  const bytes = (count) => (count < 10240 ? `${count} B` : count < 10485760 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1048576).toFixed(1)} MiB`);

  // How updates travel, what has left this hospital, and in which sums it is.
  function drawProtection() {
    const table = find("[data-sums]");
    if (!table) return;
    const { protected: how, round_records: rounds, participants } = view;
    const secure = how?.protection === "secure_aggregation";
    const kind = how && (secure ? "secure" : "sealed");
    find("[data-protection]").replaceChildren(how ? chip(secure ? "good" : "wait", secure ? "lock" : "warning", text("protection." + kind)) : "");
    find("[data-protection-words]").textContent = how ? text(`protection.${kind}.words${secure ? "" : "." + how.sealed_because}`) : "";
    const roster = find("[data-roster]");
    roster.hidden = !how;
    roster.querySelector("code").textContent = how?.roster_fingerprint ?? "";
    const names = (sites) => sites.map((site) => (site ? institution(site) : "")).filter(Boolean);
    const hidden = (sum) => (sum ? text("protection.in_sum", { sites: sum.survivors.length || "—", of: sum.participants.length, threshold: sum.threshold }) : "—");
    const isPrivate = Boolean(view.config.hyperparameters.differential_privacy);
    const rows = rounds.flatMap((record) =>
      participants.filter(({ site }) => record.sites[site]?.sent_bytes).map(({ site }) => {
        const { sent_bytes: sent, masked_sha256: sha } = record.sites[site];
        const inside = record.sum ? text(names(record.sum.survivors).includes(institution(site)) ? "protection.included" : "protection.not_included") : "—";
        return el("tr", {},
          el("td", { class: "number" }, String(record.round)), el("th", { scope: "row" }, institution(site)), el("td", { class: "number" }, bytes(sent)),
          el("td", {}, sha ? el("code", { title: sha }, sha.slice(0, 16) + "…") : text(how?.protection === "sealed" ? "protection.encrypted" : "protection.not_sent")),
          el("td", {}, inside), el("td", {}, hidden(record.sum)), isPrivate && el("td", { class: "number" }, number(record.sites[site].epsilon, 3)));
      }),
    );
    const heads = ["round", "who", "bytes", "masked", "inside", "hidden", ...(isPrivate ? ["epsilon"] : [])];
    table.replaceChildren(el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, text("protection.head." + head))))), el("tbody", {}, rows));
    table.hidden = !rows.length;
    find("[data-no-sums]").hidden = rows.length > 0;
    const sharing = find("[data-sharing]");
    if (sharing) {
      sharing.hidden = !secure;
      sharing.querySelector("input").checked = view.sharing.length > 0;
    }
  }

  find("[data-sharing] input")?.addEventListener("change", async ({ target }) => {
    const answer = await call("PUT", "/api/trainings/sharing", { shares: target.checked });
    if (!answer.ok) toast([answer.body.title, answer.body.detail].filter(Boolean).join(" · "), "bad");
    await refresh();
  });

  function told({ kind, site, detail }) {
    const values = {
      ...detail, site: site ? institution(site) : "", reason: detail.reason ?? "", by: detail.by ?? "",
      loss: number(detail.loss), protection: detail.protection ? text(detail.protection === "secure_aggregation" ? "protection.secure" : "protection.sealed") : "", task: detail.task ? text("task." + detail.task) : "",
      after: detail.after ? text("after." + detail.after) : "", text: detail.text ?? "",
      fallback: detail.fallback ?? "", message: [detail.message, detail.advice].filter(Boolean).join(" "),
    };
    const quiet = ["site_trained", "site_evaluated"].includes(kind) && (detail.loss ?? null) === null ? ".quiet" : "";
    const words = text("timeline." + kind + quiet, values).replace(/[：:（(]\s*[）)]?\s*$/, "");
    return words;
  }

  function drawTimeline() {
    const list = find("[data-timeline]");
    if (!list) return;
    const bad = ["error", "failed", "cancelled", "site_unusable", "site_excluded", "site_dropped", "site_late", "site_rejected", "sum_given_up", "warning", "session_failed"];
    list.replaceChildren(...view.timeline.map((entry) => el("li", { class: bad.includes(entry.kind) ? "bad" : null }, el("time", { datetime: entry.at }, localTime(entry.at).slice(5)), " ", told(entry))));
  }

  function drawNotice() {
    const notice = find("[data-notice]");
    if (!notice) return;
    const { state, cause, reason } = view;
    const shown = state === "pausing" || state === "stopping" || (cause && ["paused", "failed", "cancelled"].includes(state));
    notice.hidden = !shown;
    notice.className = `notice ${["failed", "cancelled"].includes(state) ? "bad" : "wait"}`;
    if (!shown) return;
    find("[data-notice-icon]").replaceChildren(icon(state === "failed" ? "warning" : "info"));
    notice.querySelector("strong").textContent = text("state." + state) + (cause ? ` · ${text("cause." + cause)}` : "");
    notice.querySelector("p").textContent = reason ?? "";
  }

  function draw() {
    drawFigures();
    drawCurves();
    drawSites();
    drawProtection();
    drawParticipation();
    drawTimeline();
    drawNotice();
    document.querySelector("[data-state-chip]")?.replaceChildren(stateChip(view.state));
    const resumed = view.resumed_at.at(-1);
    document.querySelector("[data-resumed]")?.replaceChildren(...(resumed ? [chip("wait", "again", text("resumed." + resumed.after, { at: localTime(resumed.at) }))] : []));
    for (const button of document.querySelectorAll("[data-for]")) button.hidden = !button.dataset.for.split(" ").includes(view.state);
    const device = find("[data-device]");
    if (device) device.textContent = view.device ? [view.device.name, view.device.fallback].filter(Boolean).join(" · ") : "—";
    const model = find("[data-model]");
    if (model) model.replaceChildren(view.model ? el("a", { href: "/models" }, `v${view.model}`) : "—");
    const link = find("[data-link]");
    if (link) link.href = `/trainings/${view.id}`;
  }

  let failed = false;
  async function refresh() {
    const answer = await call("GET", `/api/trainings/${root.dataset.training}`);
    if (answer.ok) {
      view = answer.body;
      draw();
      failed = false;
    } else if (!failed) {
      // Once; then it goes on trying.
      failed = true;
      toast([answer.body.title, answer.body.detail].filter(Boolean).join(" · "), "bad");
    }
  }

  subscribe("training.changed", (event) => (event === null || String(event.payload.training) === root.dataset.training) && refresh());
  // Progress within a round is not stored: it is asked for while there is some.
  follow(refresh, () => (view && OVER.includes(view.state) ? 60_000 : 1_500));
}

/** Calls `refresh` now and again, sooner while something moves, and not while nobody looks. */
export function follow(refresh, pause) {
  let timer = null;
  const turn = async () => {
    clearTimeout(timer);
    if (!document.hidden) await refresh();
    timer = setTimeout(turn, pause());
  };
  document.addEventListener("visibilitychange", () => document.hidden || turn());
  turn();
}

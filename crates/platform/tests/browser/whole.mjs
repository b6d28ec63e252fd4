// The whole way with the real program: from registering to a report. Arguments: the server's address, its set-up token, a folder with
// two hospitals' scans and one that nobody trains on, a folder for screenshots.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { base, expect, finish, given, look, signIn, submit, text, visitor, wanted } from "./visitors.mjs";

const [token, scans] = given;
const PASSWORD = "copper lantern drifting 42";
const LONG = 240_000;
wanted.push("ERR_INTERNET_DISCONNECTED", "ERR_NETWORK_CHANGED", "ERR_ABORTED", "ERR_FAILED");
const files = (folder) => readdirSync(join(scans, folder)).filter((name) => /\.(mhd|raw)$/.test(name)).map((name) => join(scans, folder, name));

const admin = await visitor();
await admin.goto(`${base}/`);
for (const [field, value] of Object.entries({ token, username: "admin", institution: "省卫生信息中心", password: PASSWORD })) await admin.fill(`#${field}`, value);
await submit(admin);
await admin.waitForURL("**/login");
await signIn(admin, "admin", PASSWORD);
await admin.waitForURL(`${base}/`);

// Two hospitals register, are approved, log in and bring their scans.
const hospitals = {};
for (const [username, institution] of Object.entries({ city: "市第一医院", county: "县医院" })) {
  const page = await visitor();
  await page.goto(`${base}/register`);
  for (const [field, value] of Object.entries({ username, institution, password: PASSWORD })) await page.fill(`#${field}`, value);
  await submit(page);
  await page.waitForURL("**/login");
  await admin.goto(`${base}/users`);
  await admin.click(`[data-call="POST /api/accounts/${username}/approve"]`);
  await admin.waitForSelector("#confirm[open]");
  await Promise.all([admin.waitForEvent("load"), admin.click("#confirm button[value=yes]")]);
  await signIn(page, username, PASSWORD);
  await page.waitForURL(`${base}/`);
  await page.goto(`${base}/data`);
  const line = await page.context().newCDPSession(page);
  await line.send("Network.enable");
  const speed = { latency: 5, downloadThroughput: -1, uploadThroughput: 1.5e6 };
  await line.send("Network.emulateNetworkConditions", { offline: false, ...speed });
  await page.setInputFiles("#files", files(username));
  await page.waitForFunction(() => document.querySelector("#uploads progress")?.value > 0.05);
  await line.send("Network.emulateNetworkConditions", { offline: true, ...speed });
  await page.waitForSelector("#uploads .chip:has-text('连接中断')");
  await line.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await page.waitForFunction((count) => document.querySelectorAll("#scans tbody tr").length === count, files(username).length / 2, { timeout: LONG });
  await page.setInputFiles("#table", join(scans, username, "annotations.csv"));
  await page.waitForSelector("#scans .chip.good");
  hospitals[username] = page;
}
await look(hospitals.city, "data");

// A training, watched by both roles.
await admin.goto(`${base}/trainings/new`);
const form = { rounds: 2, local_epochs: 1, patches_per_epoch: 8, batch_size: 2, patch_size: 32, min_lung_ml: 150 };
for (const [name, value] of Object.entries(form)) await admin.fill(`#${name}`, String(value));
await admin.selectOption("#network", "xxs");
await admin.selectOption("#sampling", "brief");
await admin.fill("#note", "合成体模结果");
await look(admin, "launch");
await submit(admin);
await admin.waitForURL("**/trainings/1");
await hospitals.city.goto(`${base}/trainings/1`);
await admin.waitForFunction(() => document.querySelector("[data-state-chip]").textContent.includes("训练中"), null, { timeout: LONG });
const participation = () => admin.locator("[data-participation] .mark").count();
const before = await participation();
// Nobody reloads: what happens comes by itself.
for (const page of [admin, hospitals.city]) {
  await page.waitForFunction(() => document.querySelector("[data-state-chip]").textContent.includes("已完成"), null, { timeout: LONG });
}
expect((await participation()) > before, "the chart of participation has not moved");
expect(await admin.locator("canvas").first().evaluate((canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0)), "the curves are empty");
expect(!(await text(hospitals.city, "main")).includes("县医院"), "a hospital sees another one's part");
await look(admin, "trained");
await look(hospitals.city, "trained-hospital");

// The model is taken into use.
await admin.goto(`${base}/models`);
await admin.click("[data-ask='POST /api/models/1/promote']");
await admin.fill("#ask-text", "第一个模型");
await Promise.all([admin.waitForEvent("load"), admin.click("#ask [type=submit]")]);
await admin.waitForSelector("tr.marked");
await look(admin, "models");

// A doctor marks a scan that nobody trained on, scrolls through it and reads the report.
const doctor = hospitals.city;
await doctor.goto(`${base}/data`);
const [unseen] = files("unseen");
const series = unseen.split("/").at(-1).replace(/\.(mhd|raw)$/, "");
await doctor.setInputFiles("#files", files("unseen"));
await doctor.waitForSelector(`#scans tr[data-search="${series.toLowerCase()}"]`, { timeout: LONG });
await doctor.click(`#scans tr[data-search="${series.toLowerCase()}"] .button.primary`);
await doctor.waitForURL("**/inferences?scan=*");
await doctor.waitForSelector("[name=scan]:checked");
await doctor.check("[name=mode][value=fast]");
await doctor.locator("#threshold").fill("0.02");
await submit(doctor);
await doctor.waitForSelector("#inferences tr a.button.primary", { timeout: LONG });
await look(doctor, "inferences");
await doctor.click("#inferences tr a.button.primary");
await doctor.waitForSelector(".pane[data-plane=axial] .slice-number:not(:empty)");
await doctor.focus(".pane[data-plane=axial]");
await doctor.keyboard.press("Home");
await doctor.waitForFunction(() => document.querySelector(".pane[data-plane=axial] .slice-number").textContent.startsWith("1 /"));
await doctor.keyboard.press("ArrowUp");
await doctor.waitForFunction(() => document.querySelector(".pane[data-plane=axial] .slice-number").textContent.startsWith("2 /"));
await look(doctor, "viewer");
await doctor.goto(`${doctor.url()}/report`);
await doctor.waitForSelector("#report:not([hidden])", { timeout: LONG });
const report = await text(doctor, "main");
for (const words of ["研究用途，须经医师复核", series, "v1"]) expect(report.includes(words), `the report lacks ${words}`);
await look(doctor, "report");

// What happened is in the logs and in the audit log, which holds.
await admin.goto(`${base}/logs`);
await admin.selectOption("[name=kind]", "training");
await admin.waitForSelector("#lines li:has-text('completed')");
await look(admin, "training-log");
await admin.goto(`${base}/audit`);
await admin.click("[data-verify]");
await admin.waitForSelector("#verdict.good");
await doctor.goto(`${base}/`);
await doctor.click(".whoami button");
await doctor.waitForURL("**/login");
await finish();

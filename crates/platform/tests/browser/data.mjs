// A hospital brings its scans in, with interruptions, and an administrator watches. Arguments: the server's address, an institution
// with its password, an administrator's name, a folder with files, a folder for screenshots.

import { join } from "node:path";
import { base, complain, expect, finish, given, look, NARROW, signIn, text, visitor, wanted, WIDE } from "./visitors.mjs";

const [username, password, administrator, files] = given;
const at = (...names) => names.map((name) => join(files, name));
wanted.push("ERR_INTERNET_DISCONNECTED", "ERR_NETWORK_CHANGED", "ERR_ABORTED", "ERR_FAILED");

const admin = await visitor();
await admin.goto(`${base}/login?next=/data`);
await signIn(admin, administrator, password);
await admin.waitForSelector(`#readiness tr[data-user="${username}"]`);
expect((await text(admin, "#readiness tbody")).includes("缺少完整扫描"), "an institution without scans seems ready");

const page = await visitor();
await page.goto(`${base}/login?next=/data`);
await signIn(page, username, password);
await page.waitForSelector("#no-scans:not([hidden])");
await look(page, "empty");

// Everything at once: what fits goes on its way, the rest is told.
await page.setInputFiles("#files", at("1.2.4.mha", "1.2.5.mhd", "1.2.5.raw", "1.2.6.raw", "notes.txt", "张三.mhd", "张三.raw", "1.2.7.mhd"));
await page.waitForSelector("#pairing:not([hidden])");
const paired = await text(page, "#pairing");
for (const words of [
  "1 例可以上传，0 例已存在，3 例有问题，另有 2 个文件略过",
  "数据文件有 100 字节",
  "请与 1.2.6.mhd 一起选择",
  "不是 MetaImage 文件",
  "不要含患者姓名",
  "缺少数据文件：文件头中写的是 1.2.7.raw",
]) {
  expect(paired.includes(words), `the result of pairing lacks “${words}”: ${paired}`);
}
await page.waitForSelector("#scans tbody tr");
await look(page, "paired");
await page.click("#pairing-close");

// A large one, over a slow line that is cut.
const line = await page.context().newCDPSession(page);
await line.send("Network.enable");
const speed = { latency: 5, downloadThroughput: -1, uploadThroughput: 3e6, connectionType: "wifi" };
await line.send("Network.emulateNetworkConditions", { offline: false, ...speed });
await page.setInputFiles("#files", at("1.2.3.mhd", "1.2.3.raw"));
const share = async () => Number(await page.locator("#uploads progress").first().getAttribute("value").catch(() => 0)) || (await page.evaluate(() => document.querySelector("#uploads progress")?.value ?? 1));
await page.waitForFunction(() => document.querySelector("#uploads progress")?.value > 0.1);
await look(page, "sending");
await line.send("Network.emulateNetworkConditions", { offline: true, ...speed });
await page.waitForSelector("#uploads .chip:has-text('连接中断')");
await look(page, "cut");
await line.send("Network.emulateNetworkConditions", { offline: false, ...speed });
const before = await share();
await page.waitForFunction((least) => (document.querySelector("#uploads progress")?.value ?? 1) > least, before + 0.1);

// A reload in the middle: the server keeps what it has, the browser must be given the files again.
page.on("dialog", (dialog) => dialog.accept());
await page.reload();
await page.waitForSelector("#uploads .chip:has-text('已中断')");
expect((await text(page, "#uploads")).includes("请重新选择同样的文件以继续"), "nothing says how to go on after a reload");
await look(page, "after-a-reload");
const kept = await share();
expect(kept > before, `after the reload ${kept} is left of ${before}`);
await page.setInputFiles("#files", at("1.2.3.mhd", "1.2.3.raw"));
await page.waitForSelector("#pairing:has-text('从中断处继续')");
await page.waitForSelector("#scans tr:has-text('1.2.3')", { timeout: 60_000 });
await page.waitForSelector("#uploads[hidden]", { state: "attached" });

// Known nodules, first a table that is wrong.
await page.setInputFiles("#table", at("wrong.csv")[0]);
await page.waitForSelector("#import-rows:not([hidden])");
expect((await text(page, "#import")).includes("第 2 行 coordX"), "a wrong row is not named");
await look(page, "wrong-table");
await page.setInputFiles("#table", at("annotations.csv")[0]);
await page.waitForSelector("#scans .chip.good:has-text('2 处结节')");
expect((await text(page, "#extent")).includes("2 个序列的 3 处结节"), `the extent says ${await text(page, "#extent")}`);
await page.waitForFunction(() => [...document.querySelectorAll(".thumbnail")].every((picture) => picture.complete && picture.naturalWidth > 0));
await look(page, "scans");
await page.fill("#find-scan", "1.2.4");
expect((await page.locator("#scans tbody tr:visible").count()) === 1, "finding a scan shows others");
await page.fill("#find-scan", "");

// The administrator has seen it all without a reload, and no image.
await admin.waitForSelector(`#readiness tr[data-user="${username}"] .chip.good`);
const row = await text(admin, `#readiness tr[data-user="${username}"]`);
expect(/2\s+0\s+2\s+3/.test(row), `readiness says ${row}`);
await look(admin, "readiness");
expect((await admin.locator(".thumbnail").count()) === 0, "an administrator sees somebody's image");

await admin.goto(`${base}/users`);
await admin.waitForSelector(`[data-online="${username}"] .chip.good`);
await look(admin, "presence");
await admin.goto(`${base}/`);
await admin.waitForFunction(() => /\d+% · \d+ 核/.test(document.querySelector("[data-machine=cpu]").textContent));
await look(admin, "overview");
await admin.goto(`${base}/logs`);
await admin.waitForSelector("#lines li");
await admin.selectOption("[name=level]", "warn");
await admin.waitForFunction(() => document.querySelectorAll("#lines li").length === 1);
await admin.selectOption("[name=level]", "");
await admin.waitForFunction(() => document.querySelectorAll("#lines li").length === 3);
await look(admin, "logs");

// Marking, and the viewer with what is known.
await page.click("#scans tr:has-text('1.2.3') a.mono");
await page.waitForURL("**/scans/*");
await page.waitForSelector("#annotations:not([hidden])");
await page.goBack();
await page.waitForSelector("#scans tbody tr");
await page.click("#scans tr:has-text('1.2.4') button.danger");
await page.waitForSelector("#confirm[open]");
await page.click("#confirm button[value=yes]");
await page.waitForFunction(() => document.querySelectorAll("#scans tbody tr").length === 1);

// Dropped on the page, and taken away again.
await page.evaluate(() => {
  const header = "ObjectType = Image\nNDims = 3\nDimSize = 8 8 4\nElementSpacing = 1 1 1\nElementType = MET_SHORT\nElementDataFile = 1.2.9.raw\n";
  const voxels = Int16Array.from({ length: 256 }, (_, voxel) => voxel - 900);
  const dataTransfer = new DataTransfer();
  for (const [content, name] of [[header, "1.2.9.mhd"], [voxels, "1.2.9.raw"]]) dataTransfer.items.add(new File([content], name));
  dispatchEvent(new DragEvent("dragenter", { bubbles: true, dataTransfer }));
  dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
});
await page.waitForSelector("#scans tr:has-text('1.2.9')");
await page.click("#scans tr:has-text('1.2.9') button.danger");
await page.waitForSelector("#confirm[open]");
await page.click("#confirm button[value=yes]");
await page.waitForFunction(() => document.querySelectorAll("#scans tbody tr").length === 1);

// By keyboard: the first field of the page is reached and opens the choice of files.
await page.focus("#files");
expect(await page.evaluate(() => getComputedStyle(document.querySelector("label:focus-within")).outlineStyle !== "none"), "a focused choice of files does not show");
await page.setViewportSize(NARROW);
await page.setViewportSize(WIDE);
for (const open of [admin, page]) {
  const errors = await open.locator(".toast.bad").count();
  if (errors) complain(`${errors} messages of failure on ${open.url()}`);
}
await finish();

// Reads a scan and its results in Chromium. Arguments: the server's address, a user's name and password, the number of the
// user's scan, those of an inference with three findings, one that runs, one without findings and one that failed, and a
// folder for screenshots. Prints how long frames take. Ends with 1 and a list of what is wrong.

import { base, expect, finish, given, look, NARROW, signIn, text, visitor, WIDE } from "./visitors.mjs";

const [username, password, scan, found, running, empty, failed] = given;

/** Somebody signed in. */
async function reader(size, more) {
  const page = await visitor(size, "light", more);
  await page.goto(`${base}/login`);
  await signIn(page, username, password);
  await page.waitForURL(`${base}/`);
  return page;
}

const pane = (plane) => `.pane[data-plane=${plane}]`;
const slice = async (page, plane) => Number((await text(page, `${pane(plane)} .slice-number`)).split("/")[0]);
const settled = (page) => page.waitForFunction(() => ![...document.querySelectorAll(".pane:not([hidden])")].some((pane) => pane.getAttribute("aria-busy") === "true"));
const until = (page, plane, number) =>
  page.waitForFunction(([selector, wanted]) => document.querySelector(selector).textContent.startsWith(`${wanted} /`), [`${pane(plane)} .slice-number`, number]);

const page = await reader(WIDE);
await page.goto(`${base}/inferences/${found}`);
await page.waitForSelector(`${pane("axial")} circle.finding`, { state: "attached" });
await settled(page);
await until(page, "axial", 91);
expect((await text(page, "#findings-title")) === "检出 3 处", "the list counts the findings");
expect((await text(page, "#model")) === "模型 v14", "the model's version is not shown");
expect((await text(page, ".warning")).includes("研究用途，须经医师复核"), "the warning is missing");
expect((await page.locator(`${pane("coronal")} .letter`).allInnerTexts()).join("") === "RLHF", "the letters of the coronal plane are wrong");
expect((await page.locator(`${pane("sagittal")} .letter`).allInnerTexts()).join("") === "APHF", "the letters of the sagittal plane are wrong");
await look(page, "result");

// The patient's sides follow the direction of the grid, also of one that is flipped or tilted.
const sides = await page.evaluate(async () => {
  const { edgeLetters, voxelFromWorld, worldFromVoxel } = await import(document.querySelector("script[src$='/viewer.js']").src.replace("viewer.js", "viewer-space.js"));
  const grid = { shape_zyx: [10, 20, 30], spacing_mm_xyz: [0.7, 0.8, 2.5], origin_mm_xyz: [-5, 6, 7] };
  const directions = { straight: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], flipped: [[-1, 0, 0], [0, -1, 0], [0, 0, 1]], tilted: [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]] };
  return Object.entries(directions).map(([name, direction]) => {
    const { left, right, top, bottom } = edgeLetters({ ...grid, direction }, "axial");
    const back = voxelFromWorld({ ...grid, direction }, worldFromVoxel({ ...grid, direction }, [3, 4, 5]));
    return `${name} ${left} ${right} ${top} ${bottom} ${back.map((index) => index.toFixed(6))}`;
  });
});
const back = "3.000000,4.000000,5.000000";
expect(sides.join() === [`straight R L A P ${back}`, `flipped L R P A ${back}`, `tilted R L AF PH ${back}`].join(), `sides: ${sides}`);

// Slice by slice, by wheel and by key, and back to the findings.
await page.hover(pane("axial"));
await page.mouse.wheel(0, 180);
await until(page, "axial", 94);
await page.focus(pane("axial"));
for (const [key, number] of [["ArrowUp", 95], ["ArrowDown", 94], ["PageDown", 84], ["Home", 1], ["End", 133]]) {
  await page.keyboard.press(key);
  await until(page, "axial", number);
}
await page.keyboard.press("n");
await page.keyboard.press("n");
await until(page, "axial", 77);
expect((await page.locator(".finding.selected b").innerText()) === "N2", "N does not go to the next finding");
await page.keyboard.press("p");
await until(page, "axial", 91);
await page.focus(pane("coronal"));
await page.keyboard.press("Home");
await until(page, "coronal", 1);
await page.click(".finding .jump >> nth=0");
await until(page, "coronal", 368);
await until(page, "sagittal", 317);

// A click moves the crosshair in all planes; the value under the pointer is the scan's.
const box = await page.locator(pane("axial")).boundingBox();
await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
await page.waitForFunction((selector) => /^25[67] /.test(document.querySelector(selector).textContent), `${pane("sagittal")} .slice-number`);
expect(/^-?\d+\.\d, -?\d+\.\d, -?\d+\.\d mm · -?\d+ HU$/.test(await text(page, `${pane("axial")} .pointer-text`)), "no place and value under the pointer");

// The window: presets, keys, numbers, dragging.
await page.keyboard.press("2");
await page.waitForFunction(() => document.querySelector(".window-text").textContent === "窗宽 400 窗位 40");
expect((await page.getAttribute("[data-window=mediastinum]", "aria-pressed")) === "true", "the preset is not marked");
await look(page, "mediastinum");
await page.keyboard.press("]");
await page.waitForFunction(() => document.querySelector(".window-text").textContent === "窗宽 450 窗位 40");
await page.mouse.move(box.x + 200, box.y + 200);
await page.mouse.down({ button: "right" });
await page.mouse.move(box.x + 300, box.y + 150, { steps: 5 });
await page.mouse.up({ button: "right" });
await page.waitForFunction(() => document.querySelector(".window-text").textContent === "窗宽 850 窗位 -60");
await page.click(".more summary");
await page.fill("#window-center", "-700");
await page.press("#window-center", "Enter");
await page.waitForFunction(() => document.querySelector(".window-text").textContent === "窗宽 850 窗位 -700");
await page.click("#restore");

// A line across the nodule, by pointer and by keyboard.
await page.click(".finding .jump >> nth=0");
await until(page, "axial", 91);
const ring = await page.locator(`${pane("axial")} circle.finding.selected:not(.rim)`).boundingBox();
await page.click("[data-tool=measure]");
await page.mouse.move(ring.x, ring.y + ring.height / 2);
await page.mouse.down();
await page.mouse.move(ring.x + ring.width, ring.y + ring.height / 2, { steps: 4 });
await page.mouse.up();
const millimetres = parseFloat(await text(page, "#measure-list button"));
expect(millimetres > 23.4 && millimetres < 40, `the ring around 23.4 mm measures ${millimetres} mm`);
await page.focus(pane("axial"));
await page.keyboard.press("Enter");
for (let step = 0; step < 10; step++) await page.keyboard.press("Shift+ArrowRight");
await page.keyboard.press("Enter");
expect((await text(page, "#measure-list li:last-child button")) === "7.0 mm", "ten voxels of 0.703 mm are not 7.0 mm");
await look(page, "measured");
await page.keyboard.press("Delete");
await page.keyboard.press("Delete");
expect(await page.locator("#measures").isHidden(), "Delete leaves measurements");
await page.keyboard.press("m");

// What is decided is sent, and can be taken back.
await page.click(".finding:nth-child(1) .accepted");
await page.waitForSelector(".finding:nth-child(1) .accepted[aria-pressed=true]");
await page.click(".finding:nth-child(2) .rejected");
await page.waitForSelector(".finding:nth-child(2)[data-review=rejected]");
await page.click(".finding:nth-child(2) .rejected");
await page.waitForSelector(".finding:nth-child(2)[data-review='']");
const reviews = await page.evaluate(async (id) => (await (await fetch(`/api/inferences/${id}`)).json()).findings.map(({ review }) => review), found);
expect(JSON.stringify(reviews) === '["accepted",null,"rejected"]', `the server keeps the reviews ${JSON.stringify(reviews)}`);
await page.focus("#threshold");
await page.keyboard.press("End");
expect((await text(page, "#findings-title")) === "检出 0 处", "the threshold does not filter");
await look(page, "nothing-above");
await page.fill("#threshold", "0.6");
expect((await text(page, "#findings-title")) === "检出 2 处", "the threshold does not filter");
await page.fill("#threshold", "0.3");

// All keys, and three dimensions.
await page.focus(pane("axial"));
await page.keyboard.press("?");
await page.waitForSelector("#keys[open]");
await look(page, "keys");
await page.keyboard.press("Escape");
await page.click("#show-volume");
await page.waitForSelector("#volume svg circle.finding", { state: "attached" });
await look(page, "volume");
await page.focus("#volume");
await page.keyboard.press("ArrowLeft");
await page.selectOption("#volume-mode", "1");
await page.fill("#volume-cut", "0.3");
await page.waitForTimeout(500);
await look(page, "volume-bone");
await page.click("#show-volume");

// How long frames take, and that scrolling does not wait for the network.
await page.click("#restore");
await page.focus(pane("axial"));
await page.keyboard.press("Home");
await until(page, "axial", 1);
await settled(page);
await page.evaluate(() => (globalThis.viewerFrames.length = 0));
const began = Date.now();
for (let number = 2; number <= 101; number++) {
  await page.keyboard.press("ArrowUp");
  await until(page, "axial", number);
}
const perSlice = (Date.now() - began) / 100;
const frames = await page.evaluate(() => [...globalThis.viewerFrames].sort((a, b) => a - b));
const at = (part) => frames[Math.min(frames.length - 1, Math.floor(frames.length * part))].toFixed(1);
console.log(`frames of a plane: median ${at(0.5)} ms, 95% ${at(0.95)} ms, longest ${at(1)} ms; ${perSlice.toFixed(0)} ms from one slice to the next, all three planes drawn`);

// Without findings; not ready; no such result; and the scan alone.
await page.goto(`${base}/inferences/${empty}`);
await page.waitForSelector("#findings-empty:not([hidden])");
await settled(page);
await look(page, "no-findings");
for (const [id, name] of [[running, "waiting"], [failed, "failed"]]) {
  await page.goto(`${base}/inferences/${id}`);
  await page.waitForSelector(".trouble:not([hidden])");
  await look(page, name);
}
await page.goto(`${base}/scans/${scan}`);
await page.waitForSelector(`${pane("axial")} .slice-number:not(:empty)`);
await settled(page);
await look(page, "scan");
await page.goto(`${base}/language/en?next=/inferences/${found}`);
await page.waitForSelector(`${pane("axial")} circle.finding`, { state: "attached" });
await settled(page);
await look(page, "result-english");

// The report, on the screen and on paper.
for (const language of ["zh", "en"]) {
  await page.goto(`${base}/language/${language}?next=/inferences/${found}/report`);
  await page.waitForSelector(".sheet[aria-busy=false]");
  expect((await page.locator("#findings img").count()) === 6, "two findings have not three pictures each");
  expect((await page.locator("#rejected-list li").count()) === 1, "what was rejected is not listed apart");
  expect((await text(page, "#table tbody tr td:last-child")).endsWith(username), "who reviewed a finding is not told");
  expect(await page.isEnabled("#print"), "a whole report cannot be printed");
  await look(page, `report-${language}`);
  await page.pdf({ path: `${given.at(-1)}/report-${language}.pdf`, preferCSSPageSize: true });
}

// A phone: one plane at a time, a finger that scrolls, tabs.
const phone = await reader(NARROW, { hasTouch: true, isMobile: true });
await phone.goto(`${base}/inferences/${found}`);
await phone.waitForSelector(`${pane("axial")} circle.finding`, { state: "attached" });
expect(await phone.locator(pane("coronal")).isHidden(), "a phone shows more than one plane");
const before = await slice(phone, "axial");
const frame = await phone.locator(pane("axial")).boundingBox();
const touches = await phone.context().newCDPSession(phone);
const finger = (type, y) => touches.send("Input.dispatchTouchEvent", { type, touchPoints: type === "touchEnd" ? [] : [{ x: frame.x + 100, y: frame.y + y }] });
await finger("touchStart", 60);
for (let y = 70; y <= 160; y += 10) await finger("touchMove", y);
await finger("touchEnd");
await phone.waitForFunction(([selector, old]) => !document.querySelector(selector).textContent.startsWith(`${old} /`), [`${pane("axial")} .slice-number`, before]);
// A tap right after a swipe is not taken for one.
await phone.waitForTimeout(500);
await phone.tap("[data-show=coronal]");
await phone.waitForSelector(`${pane("coronal")} circle`, { state: "attached" });
expect(await phone.locator(pane("axial")).isHidden(), "the tabs do not change the plane");
await look(phone, "phone-coronal");

await finish();

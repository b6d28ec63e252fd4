// What the walks through the pages share: people with browsers of their own, and a look at everything twice, 1440 and 390
// pixels wide. Needs FEDNODULE_NODE_MODULES (with playwright-core and axe-core) and FEDNODULE_BROWSER.

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const modules = process.env.FEDNODULE_NODE_MODULES;
const { chromium } = await import(pathToFileURL(join(modules, "playwright-core", "index.mjs")));
const axe = readFileSync(join(modules, "axe-core", "axe.min.js"), "utf8");
const problems = [];
/** How the status of an answer begins that a walk wants, or the browser's own word for a connection that is cut. */
export const wanted = ["4"];

/** The server's address, and what else the walk was given; the last one is the folder for screenshots. */
export const [base, ...given] = process.argv.slice(2);
const folder = given.at(-1);
mkdirSync(folder, { recursive: true });

export const WIDE = { width: 1440, height: 900 };
export const NARROW = { width: 390, height: 844 };
export const complain = (what) => problems.push(what);
export const expect = (fine, what) => fine || complain(what);
// Chromium's own sandbox needs rights that containers do not give; graphics without a graphics card must be asked for.
const browser = await chromium.launch({ executablePath: process.env.FEDNODULE_BROWSER, args: ["--no-sandbox", "--enable-unsafe-swiftshader"] });

/** A person with a browser of their own. */
export async function visitor(size = WIDE, colorScheme = "light", more = {}) {
  const context = await browser.newContext({ viewport: size, locale: "zh-CN", timezoneId: "Asia/Shanghai", colorScheme, ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.on("pageerror", (error) => complain(`${page.url()}: ${error}`));
  page.on("console", (line) => {
    // What the server refuses on purpose, browsers report as a failure to load; the graphics driver talks to itself.
    const refused = wanted.some((status) => /^\d/.test(status) && line.text().startsWith(`Failed to load resource: the server responded with a status of ${status}`));
    const cut = wanted.some((word) => line.text().includes(`net::${word}`));
    const driver = line.text().includes("GL Driver Message");
    if (["error", "warning"].includes(line.type()) && !refused && !cut && !driver) complain(`${page.url()}: ${line.text()}`);
  });
  page.on("request", (request) => expect(request.url().startsWith(`${base}/`), `asks elsewhere: ${request.url()}`));
  return page;
}

let pictures = 0;

/** A picture at both widths, where nothing sticks out and axe-core finds nothing serious. */
export async function look(page, name) {
  const before = page.viewportSize();
  const number = String(++pictures).padStart(2, "0");
  for (const size of [WIDE, NARROW]) {
    await page.setViewportSize(size);
    await page.evaluate(() => document.fonts.ready);
    await page.screenshot({ path: join(folder, `${number}-${name}-${size.width}.png`) });
    const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(excess <= 0, `${name} is ${excess} px too wide at ${size.width}`);
    // Through the debugger: the page's own policy lets no such script in.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    for (const { id, impact, nodes } of violations.filter(({ impact }) => ["serious", "critical"].includes(impact))) {
      complain(`${name} at ${size.width}, ${impact}: ${id}: ${nodes.map((node) => node.html).join(" | ").slice(0, 300)}`);
    }
  }
  await page.setViewportSize(before);
}

export const text = (page, selector) => page.locator(selector).first().innerText();
export const submit = (page) => page.click("button[type=submit]");

export async function signIn(page, username, password) {
  await page.fill("#username", username);
  await page.fill("#password", password);
  await submit(page);
}

/** Says what was wrong and ends the walk. */
export async function finish() {
  await browser.close();
  console.log(`${pictures} views at two widths`);
  for (const problem of problems) console.error(problem);
  process.exit(problems.length ? 1 : 0);
}

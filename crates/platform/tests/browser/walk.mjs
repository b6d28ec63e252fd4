// Walks through the web platform as people do, in Chromium. Arguments: the server's address, its set-up token, a folder for
// screenshots. Ends with 1 and a list of what is wrong.

import { base, expect, finish, given, look, NARROW, signIn, submit, text, visitor } from "./visitors.mjs";

const [setUpToken] = given;
const PASSWORD = "copper lantern drifting 42";
const OTHER_PASSWORD = "violet anchor humming 77";

async function confirm(page, call) {
  await page.click(`[data-call="POST /api/accounts/${call}"]`);
  await page.waitForSelector("#confirm[open]");
}

async function change(page, call) {
  await confirm(page, call);
  await Promise.all([page.waitForEvent("load"), page.click("#confirm button[value=yes]")]);
}

// The first administrator, with what goes wrong on the way.
const admin = await visitor();
await admin.goto(`${base}/`);
expect(admin.url() === `${base}/setup`, `sent to ${admin.url()} instead of the set-up`);
await submit(admin);
expect((await text(admin, "#token-error")) === "请填写此项。", "an empty field is not marked");
await admin.fill("#token", setUpToken);
await admin.fill("#username", "1st");
await admin.fill("#institution", "省卫生信息中心");
await admin.fill("#password", "hospital123");
await admin.waitForSelector("#strength[data-score='1']");
await submit(admin);
await admin.waitForSelector("#username-error:not(:empty)");
await look(admin, "set-up-refused");
await admin.fill("#username", "admin");
await admin.fill("#password", PASSWORD);
await admin.waitForSelector("#strength[data-enough=true]");
await look(admin, "set-up");
await submit(admin);
await admin.waitForURL("**/login");
await admin.waitForSelector(".toast");

// By keyboard only: the language, the two fields, the button that shows the password, the one that sends it.
await admin.focus("header .button");
await admin.keyboard.press("Tab");
await admin.keyboard.type("admin");
await admin.keyboard.press("Tab");
await admin.keyboard.type("wrong");
await admin.keyboard.press("Tab");
await admin.keyboard.press("Space");
expect((await admin.getAttribute("#password", "type")) === "text", "the password is not shown on request");
await admin.keyboard.press("Tab");
await admin.keyboard.press("Enter");
await admin.waitForSelector(".form-problem:not([hidden])");
await look(admin, "login-refused");
await admin.fill("#password", PASSWORD);
await admin.keyboard.press("Enter");
await admin.waitForURL(`${base}/`);
await admin.keyboard.press("Tab");
expect((await admin.evaluate(() => document.activeElement.className)) === "skip", "the first stop is not the way to the content");
await look(admin, "overview-at-first");

// Hospitals register.
const hospitals = { "city-first": "市第一医院", province: "省人民医院", second: "医科大学附属第二医院（东院区）", county: "县医院" };
const hospital = await visitor(NARROW);
for (const [username, institution] of Object.entries(hospitals)) {
  await hospital.goto(`${base}/login`);
  await hospital.click("a[href='/register']");
  await hospital.fill("#institution", institution);
  await hospital.fill("#username", username);
  await hospital.fill("#password", PASSWORD);
  await hospital.waitForSelector("#strength[data-enough=true]");
  if (username === "city-first") await look(hospital, "register");
  await submit(hospital);
  await hospital.waitForURL("**/login");
}
await signIn(hospital, "city-first", PASSWORD);
await hospital.waitForSelector(".form-problem:not([hidden])");
expect((await text(hospital, ".form-problem strong")) === "账户正在等待批准", "a waiting account is not told so");
await look(hospital, "login-waiting");

// The administrator decides.
await admin.goto(`${base}/`);
await admin.click("a[href='/users'].primary");
await look(admin, "users-waiting");
await confirm(admin, "city-first/approve");
await look(admin, "confirm");
await admin.keyboard.press("Escape");
expect((await text(admin, "tr[data-search^='city-first'] .wait")).includes("待批准"), "Escape approved an account");
for (const call of ["city-first/approve", "province/approve", "second/approve", "county/disable", "second/role"]) {
  await change(admin, call);
}
await look(admin, "users");
await admin.fill("input[type=search]", "市第一");
expect((await admin.locator("tbody tr:visible").count()) === 1, "the search finds one hospital");
await admin.fill("input[type=search]", "没有这样的");
await look(admin, "users-none");
await admin.fill("input[type=search]", "");
await confirm(admin, "city-first/reset-link");
await admin.click("#confirm button[value=yes]");
await admin.waitForSelector("#link[open]");
const link = await admin.inputValue("[data-link-address]");
await look(admin, "link");

// The hospital uses the link, and its account.
await hospital.goto(link);
await hospital.fill("#password", OTHER_PASSWORD);
await hospital.waitForSelector("#strength[data-enough=true]");
await look(hospital, "reset");
await submit(hospital);
await hospital.waitForURL("**/login");
await signIn(hospital, "city-first", OTHER_PASSWORD);
await hospital.waitForURL(`${base}/`);
await look(hospital, "hospital");
await hospital.goto(`${base}/users`);
expect((await text(hospital, "h1")) === "没有权限", "a hospital sees the users");
await look(hospital, "forbidden");
await hospital.goto(`${base}/account`);
await hospital.fill("#current", OTHER_PASSWORD);
await hospital.fill("#password", PASSWORD);
await hospital.waitForSelector("#strength[data-enough=true]");
await look(hospital, "account");
await Promise.all([hospital.waitForEvent("load"), submit(hospital)]);
await hospital.waitForSelector(".toast");

// The administrator looks back, in English, too, and at night.
await admin.goto(`${base}/`);
await look(admin, "overview");
await admin.goto(`${base}/audit`);
await admin.click("[data-verify]");
await admin.waitForSelector("#verdict.good");
await look(admin, "audit");
await admin.goto(`${base}/help`);
await admin.click("a[href='/docs']");
await admin.click("#accounts_register summary");
await admin.waitForSelector("#accounts_register a[href='#schema-Register']");
await look(admin, "docs");
await admin.click(".top a[hreflang=en]");
await admin.waitForSelector("html[lang=en]");
for (const page of ["", "users", "audit", "account", "docs"]) {
  await admin.goto(`${base}/${page}`);
  await look(admin, `english-${page || "overview"}`);
}
await admin.emulateMedia({ colorScheme: "dark" });
for (const page of ["", "users"]) {
  await admin.goto(`${base}/${page}`);
  await look(admin, `dark-${page || "overview"}`);
}
await admin.click(".whoami button");
await admin.waitForURL("**/login");
await look(admin, "dark-login");
await admin.goto(`${base}/audit`);
expect(admin.url() === `${base}/login?next=/audit`, "whoever has left sees the audit log");

await finish();

// Walks through accounts with mail and a users' database, in Chromium. Arguments: the server's address, its set-up token, a
// folder for screenshots. What must happen outside it asks for in a line ("mail 1 verify", "database stop") and reads a line
// when it has: a link, or nothing.

import { createInterface } from "node:readline";
import { base, expect, finish, given, look, signIn, submit, text, visitor, wanted } from "./visitors.mjs";

const [setUpToken] = given;
// What is refused while the database is away.
wanted.push("503");
const PASSWORD = "copper lantern drifting 42";
const OTHER_PASSWORD = "violet anchor humming 77";
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ask = async (what) => {
  console.log(`ASK ${what}`);
  return (await lines.next()).value;
};

const admin = await visitor();
await admin.goto(`${base}/setup`);
await admin.fill("#token", setUpToken);
await admin.fill("#username", "admin");
await admin.fill("#institution", "省卫生信息中心");
await admin.fill("#password", PASSWORD);
await submit(admin);
await admin.waitForURL("**/login");
await signIn(admin, "admin", PASSWORD);
await admin.waitForURL(`${base}/`);

// A hospital registers with its address and follows the link.
const hospital = await visitor();
await hospital.goto(`${base}/register`);
await hospital.fill("#institution", "市第一医院");
await hospital.fill("#username", "city-first");
await hospital.fill("#email", "not an address");
await hospital.fill("#password", PASSWORD);
await hospital.waitForSelector("#strength[data-enough=true]");
await submit(hospital);
await hospital.waitForSelector("#email-error:not(:empty)");
await look(hospital, "register-with-mail");
await hospital.fill("#email", "radiology@city-first.example");
await submit(hospital);
await hospital.waitForURL("**/login");
await signIn(hospital, "city-first", PASSWORD);
await hospital.waitForSelector(".form-problem:not([hidden])");
expect((await text(hospital, ".form-problem strong")) === "邮箱尚未验证", "an address that is not verified lets in");
await look(hospital, "not-verified");
await admin.goto(`${base}/users`);
await look(admin, "users-with-mail");
await hospital.goto(await ask("mail 1 verify"));
await look(hospital, "verify");
await submit(hospital);
await hospital.waitForURL("**/login");

// Forgets the password, and gets another one.
await hospital.click("a[href='/forgot']");
await hospital.fill("#account", "city-first");
await look(hospital, "forgot");
await submit(hospital);
await hospital.waitForURL("**/login");
await hospital.goto(await ask("mail 3 reset"));
await hospital.fill("#password", OTHER_PASSWORD);
await submit(hospital);
await hospital.waitForURL("**/login");
await signIn(hospital, "city-first", OTHER_PASSWORD);
await hospital.waitForURL(`${base}/`);
await hospital.goto(`${base}/account`);
await hospital.fill("#email", "ct@city-first.example");
await hospital.fill("#current_password", OTHER_PASSWORD);
await Promise.all([hospital.waitForEvent("load"), hospital.locator("form[data-api='PUT /api/account/email'] button[type=submit]").click()]);
await look(hospital, "account-with-mail");
await hospital.goto(`${base}/help`);
await hospital.click("details summary");
await look(hospital, "help-hospital");

// The administrator looks at settings and help, by keyboard and in English, too.
await admin.goto(`${base}/settings`);
await admin.focus("[data-test='/api/settings/database-test']");
await admin.keyboard.press("Enter");
await admin.click("[data-test='/api/settings/mail-test']");
await admin.waitForSelector("#database-verdict.good");
await admin.waitForSelector("#mail-verdict.good");
await look(admin, "settings");
await admin.goto(`${base}/help`);
await look(admin, "help-administrator");
await admin.goto(`${base}/language/en?next=/settings`);
await admin.click("[data-test='/api/settings/database-test']");
await admin.waitForSelector("#database-verdict.good");
await look(admin, "settings-english");
await admin.goto(`${base}/help`);
await look(admin, "help-english");
await admin.goto(`${base}/language/zh?next=/`);
await look(admin, "overview-with-database");

// The database goes; people are told, may log in, and change nothing.
await ask("database stop");
await admin.goto(`${base}/`);
await admin.waitForFunction(() => document.getElementById("users-database-down") !== null || (location.reload(), false), null, { polling: 1000 });
await look(admin, "overview-without-database");
await admin.goto(`${base}/settings`);
await admin.click("[data-test='/api/settings/database-test']");
await admin.waitForSelector("#database-verdict.bad");
await look(admin, "settings-without-database");
const visitorOf = await visitor();
await visitorOf.goto(`${base}/register`);
await visitorOf.fill("#institution", "县人民医院");
await visitorOf.fill("#username", "county");
await visitorOf.fill("#email", "ct@county.example");
await visitorOf.fill("#password", PASSWORD);
await submit(visitorOf);
await visitorOf.waitForSelector(".form-problem:not([hidden])");
expect((await text(visitorOf, ".form-problem strong")) === "用户数据库暂时无法连接", "a registration without the database");
await look(visitorOf, "register-without-database");
await visitorOf.goto(`${base}/login`);
await signIn(visitorOf, "city-first", OTHER_PASSWORD);
await visitorOf.waitForURL(`${base}/`);
await look(visitorOf, "hospital-without-database");
await ask("database start");
await admin.goto(`${base}/`);
await admin.waitForFunction(() => document.getElementById("users-database-down") === null || (location.reload(), false), null, { polling: 1000 });
await admin.goto(`${base}/audit`);
await look(admin, "audit-of-an-outage");
await finish();

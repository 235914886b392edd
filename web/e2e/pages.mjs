// Every page of the router in the states that a real api is rarely in. A page
// that the table has no line for fails by name, and so does a line without a page.
import { readFileSync } from "node:fs";
import { accessibility, assert, fits, narrow, shot, until, wide } from "./browser.mjs";
import * as data from "./data.mjs";

const router = readFileSync(new URL("../src/router.tsx", import.meta.url), "utf8");
const routes = [...router.matchAll(/^\s*path: "([^"]+)",$/gm)].map((m) => m[1]);

/** What made-up items look like, beyond what the api's description says that they must have. */
const like = {
  AuditRecord: (n) => ({ chain: "gateway", seq: 10_000 - n, actor: "user:anna", action: "call.executed", object: `call:c${n}`, outcome: n % 3 ? "ok" : "denied" }),
  FeedAlert: (n) => ({ id: `alert-${n}`, title: `DiskFull on db-${n}`, severity: ["critical", "high", "warning", "info"][n % 4], status: n % 2 ? "firing" : "resolved", host: `db-${n}`, source: "alertmanager-prod", labels: { env: "prod" } }),
  Approval: (n) => ({ tool: "ssh_execute", command: `systemctl restart app-${n}`, arguments: { command: `systemctl restart app-${n}` }, risk: "high", effect: "write", state: "pending", requester: "user:anna", needed: 1, expires_at: new Date(Date.now() + 3_600_000).toISOString(), facts: { target: `web-${n}` } }),
  Memory: (n) => ({ pattern: "/ is full", cause: `The journal of db-${n} has no bound.`, confirmed_by: "user:anna", updated_by: "user:anna", incident_number: n + 1 }),
  Runbook: (n) => ({ slug: `disk-${n}`, title: `Disk full on db-${n}` }),
  Skill: (n) => ({ name: `linux-${n}`, description: "Looks at a Linux host.", enabled: true }),
  Account: (n) => ({ username: `person-${n}`, roles: ["viewer"] }),
  AgentView: () => ({ description: "Investigates." }),
  Change: (n) => ({ text: `Deploy ${n} of checkout`, service: "checkout", noted_by: "token:ci" }),
};

/**
 * A line a page. at is where to look if the route has parts; nothing what it says when
 * there is nothing; rows what is there when there is very much; options are the fake
 * api's for a page of one thing. form is a page that asks for nothing before it is sent.
 */
const pages = {
  "/login": { form: "Sign in", refuses: "Not signed in." },
  "/setup": { at: "/setup#token=akms_wrong", form: "Make the account", refuses: "The account was not made." },
  "/accept": { at: "/accept#token=akmi_wrong", form: "Set the password", refuses: "The password was not set." },
  "/": { nothing: "Nothing is open." },
  "/wizard": { nothing: "Set-up" },
  "/alerts": { nothing: "No alerts yet", rows: "DiskFull on db-0" },
  "/usage": { nothing: "Nothing was used yet" },
  "/system": { nothing: "to look at" },
  "/changes": { nothing: "No changes yet", rows: "Deploy 0 of checkout" },
  "/incidents": { nothing: "No incidents" },
  "/incidents/$id": { at: "/incidents/41", nothing: data.fillers(1)[0].title, options: { incidents: data.fillers(1) } },
  "/approvals": { nothing: "Nothing waits for you", rows: "systemctl restart app-0" },
  "/sources": { nothing: "No sources yet" },
  "/sources/$id": { at: "/sources/s-alertmanager-staging", nothing: "alertmanager-staging", options: { empty: false } },
  "/grouping": { nothing: "No rules yet" },
  "/maintenance": { nothing: "No windows yet" },
  "/agents": { nothing: "New agent", rows: "id-0" },
  "/agents/$id": { at: "/agents/postgres", nothing: "postgres" },
  "/skills": { nothing: "No skills yet", rows: "linux-0" },
  "/skills/$name": { at: "/skills/linux-0", nothing: "linux-0" },
  "/runbooks": { nothing: "No runbooks yet", rows: "Disk full on db-0" },
  "/runbooks/$slug": { at: "/runbooks/disk-0", nothing: "Disk full on db-0" },
  "/memory": { nothing: "Nothing is remembered yet", rows: "The journal of db-0" },
  "/targets": { nothing: "No targets yet" },
  "/tools": { nothing: "No server was added yet" },
  "/tools/$id": { at: "/tools/t1", nothing: "It has no tools yet" },
  "/credentials": { nothing: "No credentials yet" },
  "/providers": { nothing: "No LLM providers yet" },
  "/accounts": { nothing: "Users", rows: "person-0" },
  "/account": { nothing: "Your account" },
  "/audit": { nothing: "Nothing is recorded yet", rows: "user:anna" },
  "/tokens": { nothing: "No API tokens yet" },
  "/docs": { nothing: "/api/v1/incidents" },
};

const main = (page) => page.locator("main");
const waiting = (page) => main(page).locator('[role="status"][aria-label="Loading"]');
const alerts = (page) => main(page).getByRole("alert");

/** Nothing may be wider than a phone; takes both pictures that people look at. */
async function look(page, name) {
  await shot(page, `${name}-1440-light`);
  await page.setViewportSize(narrow);
  await page.emulateMedia({ colorScheme: "dark" });
  await fits(page, name);
  await shot(page, `${name}-390-dark`);
  await page.setViewportSize(wide);
  await page.emulateMedia({ colorScheme: "light" });
}

/** A form that is sent to an api that fails: it says so, and keeps what was typed. */
async function formStates(name, at, line, open) {
  const { server, context, page, watched, close } = await open({ empty: true });
  watched.expect.push(/status of (401|50\d)/);
  server.failing = 500;
  await page.goto(server.url + at);
  const button = page.getByRole("button", { name: line.form });
  await button.waitFor();
  const user = page.getByLabel("User name");
  if (await user.count()) await user.fill("anna");
  await page.getByRole("textbox", { name: "Password" }).fill("correct horse battery");
  await look(page, `states-${name}`);
  await button.click();
  await page.getByRole("alert").filter({ hasText: line.refuses }).waitFor();
  assert((await page.getByRole("textbox", { name: "Password" }).inputValue()) !== "", "what was typed has gone");
  await look(page, `states-${name}-failing`);
  await accessibility(page);
  await context.setOffline(true);
  await button.click();
  await page.getByRole("alert").filter({ hasText: "Akmatori was not reached." }).waitFor();
  await close();
}

/** Loading, offline, nothing there, failing, and right again by one press. */
async function pageStates(name, at, line, open) {
  const { server, context, page, watched, close } = await open({ empty: true, incidents: [], like, ...line.options });
  watched.expect.push(/status of 50\d/, /ERR_/);
  let release;
  server.held = new Promise((go) => (release = go));
  await page.goto(server.url + at);
  await waiting(page).first().waitFor();
  await shot(page, `states-${name}-loading-1440-light`);
  await context.setOffline(true);
  await page.getByText("You are offline. What you see").waitFor();
  await main(page).getByText("this appears as soon as").first().waitFor();
  assert((await alerts(page).count()) === 0, "being offline is shown as a failure");
  await shot(page, `states-${name}-offline-1440-light`);
  await context.setOffline(false);
  server.held = undefined;
  release();
  const nothing = main(page).getByText(line.nothing).first();
  await nothing.waitFor();
  await waiting(page).first().waitFor({ state: "detached" });
  assert((await alerts(page).count()) === 0, `nothing there is shown as a failure: ${await alerts(page).allInnerTexts()}`);
  await look(page, `states-${name}-empty`);
  await accessibility(page);

  server.failing = 500;
  await page.goto(server.url + at);
  await alerts(page).first().waitFor({ timeout: 20_000 });
  await waiting(page).first().waitFor({ state: "detached", timeout: 20_000 });
  for (const alert of await alerts(page).all()) assert(await alert.getByRole("button", { name: "Try again" }).isVisible(), `nothing can be done about: ${await alert.innerText()}`);
  await look(page, `states-${name}-failing`);
  await accessibility(page);
  server.failing = 0;
  await until(
    "everything is read again",
    async () => {
      const again = alerts(page).getByRole("button", { name: "Try again" }).first();
      if (await again.count()) await again.click({ timeout: 2_000 }).catch(() => {}); // it may have gone by itself
      return (await alerts(page).count()) === 0 && (await nothing.isVisible());
    },
    20_000,
  );
  await close();
}

/** Ten thousand of them: there in a moment, drawn a page at a time, and more on request. */
async function manyRows(name, at, line, open) {
  const { server, page, close } = await open({ empty: true, incidents: [], rows: 10_000, like });
  await page.goto(server.url + at);
  await main(page).getByText(line.rows).first().waitFor();
  const nodes = await page.evaluate(() => document.querySelectorAll("main *").length);
  assert(nodes < 12_000, `${nodes} elements are drawn`);
  await look(page, `states-${name}-many`);
  await close();
}

export function pageChecks(plan, open) {
  plan("every page has its states checked", async () => {
    assert(routes.length > 20, `only ${routes.length} routes are found in router.tsx`);
    const without = routes.filter((r) => !pages[r]);
    const gone = Object.keys(pages).filter((r) => !routes.includes(r));
    assert(without.length === 0 && gone.length === 0, `pages without a line in pages.mjs: ${without}; lines without a page: ${gone}`);
  });
  for (const [route, line] of Object.entries(pages)) {
    const name = route === "/" ? "dashboard" : route.slice(1).replace(/\W+/g, "-");
    const at = line.at ?? route;
    if (line.form) plan(`${route}: a failing api and no network are said, and what was typed stays`, () => formStates(name, at, line, open));
    else plan(`${route}: loading, offline, nothing there, failing, and right again`, () => pageStates(name, at, line, open));
    if (line.rows) plan(`${route}: 10,000 of them`, () => manyRows(name, at, line, open));
  }
}

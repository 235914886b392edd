// The browser test against a real api with at least one concluded incident.
//   BASE_URL                       where the page is
//   ADMIN_USER, ADMIN_PASSWORD     an account, or
//   SETUP_URL                      the one-time link, to make one
//   SHOTS                          a folder for screenshots (optional)
import { accessibility, assert, check, fits, launch, narrow, report, reportViolations, shot, until, watch, wide } from "./browser.mjs";
import { craftChecks } from "./craft.mjs";
import { accountChecks } from "./accounts.mjs";
import { hostChecks } from "./hosts.mjs";
import { listChecks } from "./lists.mjs";
import { memoryChecks } from "./memory.mjs";
import { overviewChecks } from "./overview.mjs";
import { skillChecks } from "./skills.mjs";
import { sourceChecks } from "./sources.mjs";
import { toolChecks } from "./tools.mjs";
import { viewerChecks } from "./viewer.mjs";
import { wizardChecks } from "./wizard.mjs";
import { workChecks } from "./work.mjs";
import { workspaceChecks } from "./workspace.mjs";

const setupURL = process.env.SETUP_URL;
const base = (process.env.BASE_URL ?? (setupURL ? new URL(setupURL).origin : "")).replace(/\/$/, "");
const user = process.env.ADMIN_USER ?? "admin";
const password = process.env.ADMIN_PASSWORD ?? "correct horse battery";
if (!base) {
  console.error("BASE_URL is not set");
  process.exit(2);
}

const browser = await launch();
const context = await browser.newContext({ viewport: wide, colorScheme: "light" });
await reportViolations(context);
const page = await context.newPage();
const watched = watch(page, base);
page.setDefaultTimeout(10_000);

const api = async (path) => (await context.request.get(`${base}/api/v1${path}`)).json();
const post = (path) => context.request.post(`${base}/api/v1${path}`, { headers: { "Content-Type": "application/json" } });
/** The keys of the timeline's rows, and the number of the event that made the newest. */
const rows = () =>
  page.locator("[data-seq]").evaluateAll((all) => ({ keys: all.map((row) => row.dataset.key), newest: Number(all.at(-1)?.dataset.seq), ordered: all.every((row, i) => i === 0 || Number(row.dataset.seq) >= Number(all[i - 1].dataset.seq)) }));
const once = (keys) => new Set(keys).size === keys.length;
const shown = (call) => page.locator(`[id="call-${call.run_id}-${call.id}"]`);

if (setupURL) {
  await check("the setup link makes the first account", async () => {
    await page.goto(setupURL);
    await page.getByLabel("User name").fill(user);
    await page.getByRole("textbox", { name: "Password" }).fill(password);
    await shot(page, "setup-1440-light");
    await page.getByRole("button", { name: "Make the account" }).click();
    await page.waitForURL("**/wizard");
    assert(!page.url().includes("token="), "the token is still in the address");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL("**/login**");
  });
}

await check("whoever is not signed in is sent to sign in, and back", async () => {
  await page.goto(`${base}/sources`);
  await page.waitForURL("**/login**");
  await shot(page, "login-1440-light");
  await accessibility(page);
  watched.expect.push(/status of 401.*auth\/login/);
  await page.getByLabel("User name").fill(user);
  await page.getByRole("textbox", { name: "Password" }).fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await page.getByRole("textbox", { name: "Password" }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/sources");
});

let incident;
await check("the list shows the concluded incident", async () => {
  await page.getByRole("link", { name: "Incidents", exact: true }).click();
  await page.waitForURL("**/incidents");
  incident = await until(
    "a concluded incident",
    async () => {
      const all = (await api("/incidents?limit=200")).items.filter((i) => i.investigation === "concluded");
      return all.find((i) => i.status === "triggered") ?? all.find((i) => i.status !== "closed") ?? all[0];
    },
    30_000,
  );
  const row = page.locator(`a[href="/incidents/${incident.number}"]`);
  await row.filter({ hasText: "Concluded" }).waitFor(); // the list refreshes itself
  const text = await row.innerText();
  assert(/Concluded/.test(text) && new RegExp(incident.severity, "i").test(text), `the row says: ${text}`);
  await accessibility(page);
});

await check("filters are in the address and survive a reload", async () => {
  await page.getByLabel("Severity").selectOption(incident.severity);
  await page.waitForURL(`**/incidents?severity=${incident.severity}`);
  await page.reload();
  await page.locator(`a[href="/incidents/${incident.number}"]`).waitFor();
  await page.getByLabel("Search incidents").fill("no incident is called this");
  await page.getByText("Nothing matches").waitFor();
  await page.getByRole("link", { name: "Show all incidents" }).click();
  await page.waitForURL("**/incidents");
});

await check("the keyboard opens it", async () => {
  await page.locator(`a[href="/incidents/${incident.number}"]`).waitFor();
  await page.keyboard.press("j");
  const focused = await page.evaluate(() => document.activeElement?.getAttribute("href"));
  assert(/^\/incidents\/\d+$/.test(focused ?? ""), `j focused ${focused}`);
  await page.locator(`a[href="/incidents/${incident.number}"]`).focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(`**/incidents/${incident.number}`);
  await page.getByRole("heading", { level: 1 }).waitFor();
});

let calls;
await check("the timeline shows every tool call once, in order", async () => {
  calls = (await api(`/incidents/${incident.id}/calls`)).items;
  assert(calls.length > 0, "the incident has no tool calls");
  for (const call of calls) await shown(call).waitFor();
  for (const call of calls) assert((await shown(call).count()) === 1, `${call.id} is there twice`);
  const { keys, ordered } = await rows();
  assert(ordered && once(keys), `rows are out of order or twice: ${keys}`);
  await page.getByText("Live", { exact: true }).waitFor();
});

await check("a tool call opens to its command, rule and output", async () => {
  const call = calls.find((c) => c.result?.text.trim()) ?? calls[0];
  const row = shown(call);
  await row.getByRole("button").first().click();
  const text = await row.innerText();
  assert(!call.command || text.includes(call.command), `the command is not shown: ${text}`);
  assert(!call.verdict || text.includes(call.verdict), `the verdict is not shown: ${text}`);
  assert(!call.rule || text.includes(call.rule), `the rule is not shown: ${text}`);
  const word = call.result?.text.trim().split(/\s+/)[0];
  if (word) await row.locator("[data-output]").getByText(word).first().waitFor();
  await row.getByRole("button").first().click();
});

await check("a citation leads to its call and marks the words", async () => {
  const [found] = (await api(`/incidents/${incident.id}/findings`)).items;
  const cited = [...found.finding.evidence, ...(found.finding.hypotheses ?? []).flatMap((h) => h.evidence)].find((c) => c.excerpt);
  assert(cited, "no finding quotes a call");
  await page.locator(`[data-cite="${cited.call}"]`, { hasText: cited.excerpt.split(/\s+/)[0] }).first().click();
  const row = shown({ run_id: found.run_id, id: cited.call });
  await page.waitForFunction((id) => document.getElementById(id)?.dataset.cited === "true", `call-${found.run_id}-${cited.call}`);
  const marked = await until("a marked line", async () => (await row.locator("[data-n][data-cited]").allInnerTexts()).join(" "));
  const fold = (t) => t.split(/\s+/).filter(Boolean).join(" ");
  assert(fold(marked).includes(fold(cited.excerpt)), `marked ${marked}`);
  assert(await row.evaluate((el) => el.getBoundingClientRect().top < innerHeight && el.getBoundingClientRect().bottom > 0), "it is not on the screen");
  await shot(page, "citation-1440-light", { full: false });
  await accessibility(page);
});

await check("the page catches up after it was offline, without a row twice", async () => {
  const before = await rows();
  await context.setOffline(true);
  await page.getByText("You are offline", { exact: false }).first().waitFor();
  await page.getByText("Offline", { exact: true }).waitFor();
  const { status } = await api(`/incidents/${incident.id}`);
  const step = { triggered: "acknowledge", acknowledged: "resolve", resolved: "close" }[status];
  assert(step, `an incident that is ${status} cannot be changed`);
  const answer = await post(`/incidents/${incident.id}/${step}`);
  assert(answer.ok(), `${step}: ${answer.status()}`);
  const { last_seq } = await answer.json();
  await context.setOffline(false);
  await until("the change", async () => (await rows()).newest >= last_seq, 20_000);
  const after = await rows();
  assert(after.ordered && once(after.keys), `rows are out of order or twice: ${after.keys}`);
  assert(after.keys.length > before.keys.length && before.keys.every((key, i) => after.keys[i] === key), "rows that were there have moved");
  await page.getByText("Live", { exact: true }).waitFor();
});

await check("what is new waits below in a pill", async () => {
  await page.reload();
  await page.locator("[data-call]").first().waitFor();
  await page.evaluate(() => scrollTo(0, 0));
  const before = (await rows()).keys.length;
  const { status } = await api(`/incidents/${incident.id}`);
  const step = { triggered: "acknowledge", acknowledged: "resolve", resolved: "close" }[status];
  if (!step) return; // it was closed by the check before: nothing more can happen to it
  const answer = await post(`/incidents/${incident.id}/${step}`);
  assert(answer.ok(), `${step}: ${answer.status()}`);
  await until("a new row", async () => (await rows()).keys.length > before);
  const pill = page.getByRole("button", { name: /\d+ new/ });
  await pill.waitFor();
  await pill.click();
  await pill.waitFor({ state: "detached" });
});

await check("sources, credentials, targets, providers and tokens can be made on the page", async () => {
  const mark = `e2e-${Date.now().toString(36)}`;
  const open = async (path, noun) => {
    await page.goto(base + path);
    await page.getByRole("button", { name: `New ${noun}` }).click();
    await page.getByLabel("Name", { exact: true }).fill(mark);
  };
  const save = async () => {
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("cell", { name: new RegExp(`^${mark}\\b`) }).first().waitFor();
  };

  await open("/sources", "source");
  await save();
  const config = await page.getByLabel("Into alertmanager.yml, then reload Alertmanager", { exact: true }).innerText();
  assert(/url: "https?:.*\/webhook\/alert\/.*"/.test(config) && /credentials: "akmh_/.test(config), config);
  const [, secret] = /credentials: "(akmh_[^"]+)"/.exec(config);
  await page.getByRole("button", { name: "I have saved it" }).click();
  assert(!(await page.content()).includes(secret), "the secret is still on the page");

  await open("/credentials", "credential");
  await page.getByLabel("Kind").selectOption("ssh_password");
  await page.getByRole("textbox", { name: "Password" }).fill("only a test");
  await page.getByLabel("For which targets").fill(`${mark}-*`);
  await save();

  await open("/targets", "target");
  await page.getByLabel("Address").fill("127.0.0.1");
  await page.getByLabel("User").fill("nobody");
  await page.getByLabel("Credential").selectOption(mark);
  await page.getByLabel("Host key").fill("not a key");
  watched.expect.push(/status of 422.*targets/);
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("alert").waitFor();
  await page.getByLabel("Host key").fill("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl");
  await save();

  await open("/providers", "provider");
  await page.locator('input[name="model"]').fill("none");
  await page.getByLabel("Base URL").fill("https://llm.invalid/v1");
  await save();

  await open("/tokens", "token");
  await save();
  await page.getByText(/^akm_/).waitFor();
  await page.getByRole("button", { name: "I have saved it" }).click();
  await page.getByRole("button", { name: `Revoke ${mark}` }).click();
  await page.getByRole("button", { name: `Really revoke ${mark}` }).click();
  await page.getByRole("cell", { name: mark, exact: true }).waitFor({ state: "detached" });
});

await check("Ctrl-K goes to a page and to an incident by its words", async () => {
  await page.goto(`${base}/incidents`);
  await page.getByRole("link", { name: "API tokens" }).waitFor();
  await page.keyboard.press("Control+k");
  const palette = page.getByRole("dialog", { name: "Go to" });
  await palette.getByRole("combobox").fill("api");
  await palette.getByRole("option", { name: "API tokens" }).waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/docs");
  await palette.waitFor({ state: "hidden" });
  await page.getByLabel("Find a call").fill("sign in");
  await page.getByText("/api/v1/auth/login").click();
  await page.getByText(/curl -sS -X POST/).waitFor();
  await page.keyboard.press("Control+k");
  await palette.getByRole("combobox").fill(incident.service);
  await palette.getByRole("option", { name: `#${incident.number}` }).waitFor();
  await palette.getByRole("combobox").fill(String(incident.number));
  await palette.getByRole("option", { name: `#${incident.number}` }).first().click();
  await page.waitForURL(`**/incidents/${incident.number}`);
});

await listChecks({ context, page, watched, base });
await craftChecks({ browser, context, page, watched, base });
await sourceChecks({ browser, context, page, watched, base });
await workChecks({ browser, context, page, watched, base });
await hostChecks({ context, page, watched, base });
await toolChecks({ context, page, watched, base });
await memoryChecks({ context, page, base });
await skillChecks({ context, page, base });

await overviewChecks({ context, page, base, incident });

await accountChecks({ browser, context, page, base });

await wizardChecks({ browser, base });
await workspaceChecks({ browser });

const pages = [
  ["dashboard", "/"],
  ["wizard", "/wizard"],
  ["wizard-provider", "/wizard?step=provider"],
  ["wizard-source", "/wizard?step=source"],
  ["wizard-target", "/wizard?step=target"],
  ["alerts", "/alerts"],
  ["changes", "/changes"],
  ["usage", "/usage"],
  ["system", "/system"],
  ["incidents", "/incidents"],
  ["incident", () => `/incidents/${incident.number}`],
  ["approvals", "/approvals"],
  ["grouping", "/grouping"],
  ["maintenance", "/maintenance"],
  ["accounts", "/accounts"],
  ["account", "/account"],
  ["sources", "/sources"],
  ["source", `/sources/${(await api("/sources")).items[0].id}`],
  ["targets", "/targets"],
  ["tools", "/tools"],
  ["agents", "/agents"],
  ["agent", "/agents/investigator"],
  ["skills", "/skills"],
  ["skill", "/skills/disk"],
  ["runbooks", "/runbooks"],
  ["runbook", `/runbooks/${(await api("/runbooks")).items[0].slug}`],
  ["memory", "/memory"],
  ["audit", "/audit"],
  ["credentials", "/credentials"],
  ["providers", "/providers"],
  ["tokens", "/tokens"],
  ["docs", "/docs"],
];
await viewerChecks({ browser, context, base, pages });

/** Looks at every page in one theme. */
async function look(page, viewport, colorScheme) {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize(viewport);
  for (const [name, where] of pages) {
    await page.goto(base + (typeof where === "function" ? where() : where));
    await page.getByRole("heading", { level: 1 }).waitFor();
    await until("the end of loading", async () => (await page.getByRole("status", { name: "Loading" }).count()) === 0);
    await until("the charts", () => page.evaluate(() => [...document.querySelectorAll("figure [data-height]")].every((box) => box.querySelector("canvas"))));
    if (name === "incident") await page.locator("[data-call]").first().waitFor();
    await page.waitForTimeout(150); // what comes after the first data, such as the tail of the timeline
    await shot(page, `${name}-${viewport.width}-${colorScheme}`);
    await fits(page, name);
    await accessibility(page);
  }
}

// Both themes side by side, since much of it is waiting.
const dark = await context.newPage();
dark.setDefaultTimeout(10_000);
const watchedDark = watch(dark, base);
for (const viewport of [wide, narrow]) {
  await Promise.all([[page, "light"], [dark, "dark"]].map(([page, colorScheme]) =>
    check(`every page at ${viewport.width} px, ${colorScheme}`, () => look(page, viewport, colorScheme))));
}

await check("nothing was refused by the policy, nothing went wrong on the console, nothing was asked of elsewhere", () => {
  const wrong = [...watched.wrong, ...watchedDark.wrong];
  assert(wrong.length === 0, wrong.join("\n"));
});

await browser.close();
report();

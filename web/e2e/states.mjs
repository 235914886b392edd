// States that a real api is rarely in, against the fake one: every page empty,
// loading, offline, failing and with very many rows; a live run; hostile text.
//   node e2e/states.mjs [PART OF A NAME]
//   SHOTS                          a folder for screenshots (optional)
import { accessibility, assert, check, launch, narrow, report, reportViolations, shot, until, watch, wide } from "./browser.mjs";
import * as data from "./data.mjs";
import { admin, start } from "./devserver.mjs";
import { pageChecks } from "./pages.mjs";

const browser = await launch();
const only = process.argv[2] ?? "";
const checks = [];
const measured = [];
/** Runs a check among others, for most of the time of most goes by in waiting. */
const plan = (name, run) => void (name.includes(only) && checks.push(() => check(name, run)));
/** Runs a check alone, after the others: it looks at the clock. */
const measure = (name, run) => void (name.includes(only) && measured.push(() => check(name, run)));

/** A signed-in page on a fake api of its own. */
async function open(options = {}, { viewport = wide, colorScheme = "light" } = {}) {
  const server = await start(options);
  const context = await browser.newContext({ viewport, colorScheme });
  await reportViolations(context);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const watched = watch(page, server.url);
  await context.request.post(`${server.url}/api/v1/auth/login`, { data: admin });
  const close = async () => {
    await context.close();
    await server.stop();
    const wrong = [...new Set([...server.wrong, ...watched.wrong])];
    assert(wrong.length === 0, wrong.join("\n"));
  };
  return { server, context, page, watched, close };
}

const keys = (page) => page.locator("[data-key]").evaluateAll((all) => all.map((row) => row.dataset.key));
const once = (all) => new Set(all).size === all.length;

pageChecks(plan, open);

plan("a failing api is said, what was shown stays, and it recovers by itself", async () => {
  const { server, page, watched, close } = await open();
  watched.expect.push(/status of 50\d/);
  await page.goto(`${server.url}/incidents`);
  await page.getByText("NodeFilesystemFull").waitFor();
  server.failing = 503;
  await page.getByText("The list could not be refreshed.").waitFor({ timeout: 20_000 });
  assert(await page.getByText("NodeFilesystemFull").isVisible(), "the rows have gone");
  await shot(page, "failing-list-1440-light");
  server.failing = 0;
  await page.getByText("The list could not be refreshed.").waitFor({ state: "detached", timeout: 20_000 });
  server.failing = 500;
  await page.goto(`${server.url}/incidents/42`);
  await page.getByText("The incident could not be read.").waitFor({ timeout: 20_000 });
  await shot(page, "failing-incident-1440-light");
  server.failing = 0;
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("heading", { level: 1, name: /NodeFilesystemFull/ }).waitFor();
  watched.expect.push(/status of 404/);
  await page.goto(`${server.url}/incidents/9999`);
  await page.getByText("There is no such incident").waitFor();
  await close();
});

measure("10,000 incidents: usable with half a second of work, few rows drawn, all reachable, no jump on refresh", async () => {
  const { server, context, page, close } = await open({ incidents: [data.concluded, ...data.fillers(9_999, 10_041)].sort((a, b) => b.number - a.number) });
  await page.goto(`${server.url}/sources`);
  // In time of the processor: what else the machine does meanwhile is not the page's.
  const cdp = await context.newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const worked = async () => (await cdp.send("Performance.getMetrics")).metrics.find((m) => m.name === "TaskDuration").value * 1000;
  const before = await worked();
  await page.getByRole("link", { name: "Incidents", exact: true }).click();
  await page.locator("a[data-index]").first().waitFor();
  const usable = Math.round((await worked()) - before);
  assert(usable < 500, `${usable} ms of work`);
  let most = 0;
  await until(
    "the end of the list",
    async () => {
      most = Math.max(most, await page.locator("a[data-index]").count());
      await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
      return page.getByText("That is all of them.").isVisible();
    },
    60_000,
  );
  assert(most < 120, `${most} rows drawn at once`);
  const last = await page.locator("a[data-index]").evaluateAll((all) => Math.max(...all.map((a) => Number(a.dataset.index))));
  assert(last === 9_999, `the last row is ${last}`);
  await page.evaluate(() => scrollBy(0, -2000));
  await page.waitForTimeout(300);
  const top = await page.evaluate(() => scrollY);
  server.incidents[0] = { ...server.incidents[0], title: "Changed while you were away" };
  await page.waitForTimeout(5_500);
  const after = await page.evaluate(() => scrollY);
  assert(Math.abs(after - top) < 1, `it jumped from ${top} to ${after}`);
  const frames = await page.evaluate(async () => {
    const times = [];
    let then = performance.now();
    for (let i = 0; i < 60; i++) {
      scrollBy(0, -900);
      await new Promise(requestAnimationFrame);
      times.push(performance.now() - then);
      then = performance.now();
    }
    return times.sort((a, b) => a - b);
  });
  console.log(`      usable after ${usable} ms of work, at most ${most} rows drawn, frame p95 ${Math.round(frames[56])} ms`);
  await page.evaluate(() => scrollTo(0, 0));
  await page.getByText("Changed while you were away").waitFor();
  await close();
});

plan("new incidents appear by themselves, at the top, while the reader is elsewhere in the list", async () => {
  const { server, page, close } = await open({ incidents: data.fillers(400, 400) });
  await page.goto(`${server.url}/incidents`);
  await page.locator("a[data-index]").first().waitFor();
  for (let i = 1; i <= 250; i++) server.incidents.unshift({ ...data.fillers(1, 400 + i)[0], id: crypto.randomUUID(), title: `Storm ${i}` });
  await page.getByText("Storm 250", { exact: true }).waitFor({ timeout: 10_000 });
  const numbers = await page.locator("a[data-index]").evaluateAll((all) => all.sort((a, b) => a.dataset.index - b.dataset.index).map((a) => Number(a.getAttribute("href").split("/").pop())));
  assert(numbers.every((n, i) => i === 0 || n === numbers[i - 1] - 1), `there are holes: ${numbers}`);
  await close();
});

plan("a live run: words grow, output runs, broken streams resume, findings arrive", async () => {
  const { server, page, watched, close } = await open();
  const live = server.incidents.find((i) => i.investigation === "running");
  const run = crypto.randomUUID();
  live.run_id = run;
  const of = { run_id: run };
  server.calls.set(live.id, []);
  server.push(live.id, "run.started", { state: "running", worker: "agent-1", epoch: 1 }, of);
  await page.goto(`${server.url}/incidents/${live.number}`);
  await page.getByText("Live", { exact: true }).waitFor();
  for (const piece of ["I look ", "at the ", "load "]) server.push(live.id, "text.delta", { turn: 1, text: piece }, of);
  await page.getByText("I look at the load", { exact: false }).waitFor();
  watched.expect.push(/ERR_(INCOMPLETE_CHUNKED_ENCODING|CONNECTION|EMPTY_RESPONSE)/);
  server.dropStreams();
  for (const piece of ["of **web", "-1**."]) server.push(live.id, "text.delta", { turn: 1, text: piece }, of);
  await page.getByText("I look at the load of **web-1**.", { exact: false }).waitFor();
  assert((await page.locator('[data-row="text"]').count()) === 1, "the turn is not one block");
  server.push(live.id, "message", { turn: 1, text: "I look at the load of **web-1**.", usage: { model: "m", input_tokens: 10, output_tokens: 5 } }, of);
  await page.locator('[data-row="text"] strong', { hasText: "web-1" }).waitFor();
  assert((await page.locator('[data-row="text"]').count()) === 1, "the message did not replace the draft");

  server.push(live.id, "tool.call", { id: "c1", name: "ssh_execute", arguments: { target: "web-1", command: "vmstat 1 5" } }, of);
  await page.locator('[data-call="c1"]', { hasText: "running" }).waitFor();
  server.push(live.id, "tool.output", { id: "c1", text: "procs -----------memory\n r  b   swpd\n" }, of);
  await page.locator('[data-call="c1"] [data-output]', { hasText: "swpd" }).waitFor();
  await shot(page, "live-1440-light", { full: false });
  server.dropStreams();
  server.push(live.id, "tool.output", { id: "c1", text: " 9  1      0\n" }, of);
  await page.locator('[data-call="c1"] [data-output]', { hasText: "9 1" }).waitFor();
  server.push(live.id, "tool.result", { id: "c1", state: "done", text: "procs\n r  b   swpd\n 9  1      0\n", exit_code: 0, duration_ns: 5e9, target: "web-1" }, of);
  await page.locator('[data-call="c1"]', { hasText: "exit 0" }).waitFor();

  const finding = { summary: "Load.", root_cause: "Nine processes wait for two cores.", confidence: 0.8, evidence: [{ call: "c1", excerpt: "9 1 0" }], hypotheses: [], conclusive: true };
  server.push(live.id, "findings", finding, of);
  Object.assign(live, { investigation: "concluded" });
  server.push(live.id, "run.ended", { state: "concluded" }, of);
  await page.getByText("Nine processes wait for two cores.").first().waitFor();
  await page.locator("[data-cite=c1]").first().click();
  await page.locator('[data-call="c1"] [data-n][data-cited]', { hasText: "9" }).waitFor();
  assert(once(await keys(page)), "rows are there twice");
  await close();
});

plan("text from outside never becomes markup, acts or hides", async () => {
  const { server, page, close } = await open();
  const evil = server.incidents.find((i) => i.number === 40);
  Object.assign(evil, { title: `<img src=x onerror="window.hacked=1">\u202eevil`, description: "\u001b]0;x\u0007 <b>bold</b>", service: "<script>window.hacked=1</script>" });
  const of = { run_id: crypto.randomUUID() };
  server.push(evil.id, "message", { turn: 1, text: `<img src=x onerror="window.hacked=1"> [x](javascript:window.hacked=1) ![y](http://evil.example/y.png) <iframe src="//evil.example"></iframe>` }, of);
  server.push(evil.id, "tool.call", { id: "c1", name: "ssh_execute", arguments: { target: "a\u200bb", command: "df\u202e -h" } }, of);
  server.push(evil.id, "tool.result", { id: "c1", state: "done", text: "\u001b[31mred\u001b[0m \u001b[2J \u202e <script>window.hacked=1</script>\n", exit_code: 0, duration_ns: 1e6 }, of);
  await page.goto(`${server.url}/incidents/40`);
  const row = page.locator('[data-call="c1"]');
  await row.getByRole("button").first().click();
  await row.locator(".control").first().waitFor();
  assert((await row.locator(".sgr-31").innerText()) === "red", "the colour is lost");
  assert((await row.innerText()).includes("U+202E"), "the override is not shown");
  assert((await page.locator("main img, main iframe, main script, main b:has-text('bold')").count()) === 0, "markup got through");
  assert((await page.locator('a[href^="javascript"]').count()) === 0, "a script link got through");
  assert((await page.evaluate(() => globalThis.hacked)) === undefined, "a script ran");
  assert((await page.title()).includes("U+202E"), "the title hides an override");
  await page.goto(`${server.url}/incidents/42`);
  await page.getByText("NodeFilesystemFull", { exact: true }).first().click();
  assert((await page.locator('a[href^="javascript"]').count()) === 0, "an alert's script link got through");
  await close();
});

measure("10,000 events: the newest are drawn, earlier ones on request", async () => {
  const { server, page, close } = await open();
  const id = data.incidentId;
  for (let i = 0; i < 10_000; i++) server.push(id, "alert.firing", { alert_id: `a${i}`, title: `Alert ${i}`, severity: "warning" });
  const started = Date.now();
  await page.goto(`${server.url}/incidents/42`);
  await page.getByText("Alert 9999", { exact: true }).waitFor();
  const took = Date.now() - started;
  assert((await page.locator("[data-seq]").count()) <= 400, "too many rows are drawn");
  await page.getByRole("button", { name: /earlier of/ }).click();
  await page.getByText("Alert 9000", { exact: true }).waitFor();
  // A citation reaches a row that is not drawn yet.
  await page.locator("[data-cite=c2]").first().click();
  await page.locator('[data-call="c2"] [data-n][data-cited]').waitFor();
  console.log(`      shown in ${took} ms`);
  await close();
});

measure("an output of 100,000 lines opens at once, scrolls without jank, is searched and cited", async () => {
  const { server, page, close } = await open();
  const of = { run_id: crypto.randomUUID() };
  const evil = server.incidents.find((i) => i.number === 40);
  const text = Array.from({ length: 100_000 }, (_, n) => `Nov 21 03:10:${n % 60} db-1 postgres[${n}]: \u001b[3${n % 8}mline ${n}\u001b[0m of the log${n === 77_777 ? " PANIC: no space left" : ""}`).join("\n");
  server.push(evil.id, "tool.call", { id: "c1", name: "ssh_execute", arguments: { target: "db-1", command: "journalctl" } }, of);
  server.push(evil.id, "tool.result", { id: "c1", state: "done", text, exit_code: 0, duration_ns: 1e9, target: "db-1" }, of);
  await page.addInitScript(() => {
    globalThis.long = [];
    new PerformanceObserver((list) => globalThis.long.push(...list.getEntries().map((e) => Math.round(e.duration)))).observe({ type: "longtask" });
  });
  await page.goto(`${server.url}/incidents/40`);
  const row = page.locator('[data-call="c1"]');
  await row.waitFor();
  const started = Date.now();
  await row.getByRole("button").first().click();
  await row.getByText("100,000 lines").waitFor();
  await row.locator("[data-n]").first().waitFor();
  const opened = Date.now() - started;
  await page.evaluate(() => (globalThis.long.length = 0));
  const most = await row.locator('[role="region"]').evaluate(async (box) => {
    let drawn = 0;
    for (let i = 0; i < 200; i++) {
      box.scrollBy(0, i < 100 ? 300 : 20_000);
      await new Promise(requestAnimationFrame);
      drawn = Math.max(drawn, box.querySelectorAll("[data-n]").length);
    }
    return drawn;
  });
  const long = await page.evaluate(() => globalThis.long);
  console.log(`      opened in ${opened} ms, at most ${most} lines drawn, ${long.length} long tasks while scrolling, the longest ${Math.max(0, ...long)} ms`);
  // What is wanted is a second and 200 ms; a machine that does other things as well gets three times that.
  assert(opened < 3_000, `it opened in ${opened} ms`);
  assert(Math.max(0, ...long) < 600, `long tasks: ${long}`);
  assert(most < 120, `${most} lines are drawn at once`);
  await row.getByRole("button", { name: "Search the output" }).click();
  await row.getByLabel("Words to look for in the output").fill("line 77777 of the log panic");
  await row.getByText("1 of 1", { exact: true }).waitFor();
  await row.locator('[data-n="77778"][data-at]').waitFor();
  await row.getByRole("button", { name: "Wrap long lines" }).click();
  await row.locator('[data-n="77778"][data-at]').waitFor();
  await shot(page, "output-long-1440-light", { full: false });
  await accessibility(page);
  await page.keyboard.press("Escape");
  const finding = { summary: "s", root_cause: "The disk is full.", confidence: 0.8, evidence: [{ call: "c1", excerpt: "PANIC: no space left" }], hypotheses: [], conclusive: true };
  server.push(evil.id, "findings", finding, of);
  await page.locator("[data-cite=c1]").first().click();
  await row.locator('[data-n="77778"][data-cited]').waitFor();
  await close();
});

plan("offline from the start, and back", async () => {
  const { server, context, page, watched, close } = await open();
  await page.goto(`${server.url}/sources`);
  await page.getByRole("heading", { name: "Sources" }).waitFor();
  // Pointing at the link fetches the page's code and its list, which it does not get here.
  watched.expect.push(/status of 503/);
  server.failing = 503;
  await page.getByRole("link", { name: "Incidents", exact: true }).hover();
  await page.waitForTimeout(300);
  await context.setOffline(true);
  server.failing = 0;
  await page.getByRole("link", { name: "Incidents", exact: true }).click();
  await page.locator("main").getByText("this appears as soon as the network is back").first().waitFor();
  await shot(page, "offline-1440-light");
  await context.setOffline(false);
  await page.getByText("NodeFilesystemFull").waitFor();
  await close();
});

plan("a session that ends leads to sign in and back to the same page", async () => {
  const { server, page, watched, close } = await open();
  watched.expect.push(/status of 401/);
  await page.goto(`${server.url}/incidents/42`);
  await page.getByText("Live", { exact: true }).waitFor();
  server.sessions.clear();
  server.dropStreams();
  watched.expect.push(/ERR_/);
  await page.waitForURL("**/login?next=**", { timeout: 20_000 });
  await page.getByLabel("User name").fill(admin.username);
  await page.getByRole("textbox", { name: "Password" }).fill(admin.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/incidents/42");
  await close();
});

plan("the theme follows the system until one is chosen, before the first paint", async () => {
  const { server, page, close } = await open({}, { colorScheme: "dark" });
  const scheme = () => page.evaluate(() => document.documentElement.dataset.mantineColorScheme);
  await page.goto(`${server.url}/sources`, { waitUntil: "commit" });
  await until("dark", async () => (await scheme()) === "dark");
  await page.getByRole("radio", { name: "Light" }).click();
  await page.reload();
  assert((await scheme()) === "light", "the choice is lost");
  await page.getByRole("radio", { name: "As the system" }).click();
  await until("dark again", async () => (await scheme()) === "dark");
  await close();
});

plan("a new source shows its secret once, with what to paste", async () => {
  const { server, page, watched, close } = await open();
  await page.goto(`${server.url}/sources`);
  await page.getByRole("button", { name: "New source" }).click();
  await shot(page, "source-form-1440-light");
  await page.getByLabel("Name").fill("alertmanager-prod");
  watched.expect.push(/status of 409/);
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("already").waitFor();
  await page.getByLabel("Name").fill("alertmanager-eu");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("akmh_", { exact: false }).first().waitFor();
  const config = await page.getByLabel("Into alertmanager.yml, then reload Alertmanager", { exact: true }).innerText();
  assert(/credentials: "akmh_/.test(config) && /webhook\/alert\//.test(config), config);
  await shot(page, "source-made-1440-light");
  await page.setViewportSize(narrow);
  assert((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "it is too wide for a phone");
  await shot(page, "source-made-390-light");
  await accessibility(page);
  await page.getByRole("button", { name: "I have saved it" }).click();
  assert((await page.getByText("akmh_").count()) === 0, "the secret is still there");
  await close();
});

plan("a source's page: what a stranger sent is text, failures are said, what was shown stays", async () => {
  const { server, page, watched, close } = await open();
  const source = server.sources[0];
  await page.goto(`${server.url}/sources/${source.id}`);
  await page.getByRole("img", { name: /^Last hour: \d+ deliveries in the last 60 minutes, .*errors/ }).waitFor();
  await page.getByRole("button", { name: "Show the body" }).first().click();
  await page.locator("[data-output]").first().waitFor();
  const said = await page.locator("main").innerText();
  assert(said.includes("<b>error</b>") && said.includes("U+202E") && !said.includes("\u202e"), "hostile text is not shown as text");
  assert((await page.locator("main img, main b").count()) === 0 && (await page.evaluate(() => globalThis.hacked)) === undefined, "it became markup");
  await shot(page, "source-1440-light");
  await accessibility(page);
  await page.getByRole("button", { name: "Start set-up mode" }).click();
  await page.getByRole("alert").filter({ hasText: "Set-up mode, for 59m" }).waitFor();
  await page.setViewportSize(narrow);
  await page.emulateMedia({ colorScheme: "dark" });
  assert((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "it is too wide for a phone");
  await shot(page, "source-390-dark");
  await accessibility(page);

  const form = page.getByRole("form", { name: "Settings" });
  await form.getByLabel("Wait before resolving").fill("5m");
  source.options = { silent_after_seconds: 60 };
  await page.getByText("Somebody has changed these settings meanwhile.").waitFor({ timeout: 10_000 });
  assert((await form.getByLabel("Wait before resolving").inputValue()) === "5m", "what was typed has gone");
  await page.getByRole("button", { name: "Show what is in force" }).click();
  assert((await form.getByLabel("Raise an alert when nothing arrives for").inputValue()) === "1m", "it does not show what is in force");

  watched.expect.push(/status of 50\d/);
  server.failing = 503;
  await page.getByText("The source could not be refreshed.").waitFor({ timeout: 20_000 });
  assert(await page.getByRole("heading", { name: source.name }).isVisible(), "what was shown has gone");
  await page.goto(`${server.url}/sources/${source.id}`);
  await page.getByText("The source could not be read.").waitFor({ timeout: 20_000 });
  await accessibility(page);
  server.failing = 0;
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("heading", { name: source.name }).waitFor();
  server.actions = ["read"];
  await page.reload();
  await page.getByText("Only who may manage sources can change them.").waitFor();
  assert((await page.locator("main").getByRole("button", { name: /Send|Save|Delete|Make|Start|Read|Show/ }).count()) === 0, "a viewer has buttons");
  await close();
});

plan("credentials, targets, providers and tokens can be made; a token is revoked by a second press", async () => {
  const { server, page, close } = await open({ empty: true });
  const save = () => page.getByRole("button", { name: "Save" }).click();
  await page.goto(`${server.url}/credentials`);
  await page.getByRole("button", { name: "New credential" }).click();
  await page.getByLabel("Name").fill("ops-key");
  await page.getByLabel("Private key").fill("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n");
  await page.getByLabel("For which targets").fill("db-*, web-1");
  await shot(page, "credential-form-1440-light");
  await save();
  await page.getByRole("cell", { name: "db-* web-1" }).waitFor();
  assert(!(await page.content()).includes("PRIVATE KEY"), "the secret is still on the page");

  await page.goto(`${server.url}/targets`);
  await page.getByRole("button", { name: "New target" }).click();
  await page.getByLabel("Name").fill("db-1");
  await page.getByLabel("Address").fill("10.0.0.1");
  await page.getByLabel("User").fill("ops");
  await page.getByLabel("Host key").fill("ssh-ed25519 AAAA");
  await page.getByLabel("Credential").selectOption("ops-key");
  await save();
  await page.getByRole("cell", { name: "ops@10.0.0.1:22" }).waitFor();

  await page.goto(`${server.url}/providers`);
  await page.getByRole("button", { name: "New provider" }).click();
  await page.getByLabel("Name").fill("local");
  await page.locator('input[name="model"]').fill("m");
  await page.getByLabel("Base URL").fill("http://10.0.0.2:8000/v1");
  await page.getByRole("switch", { name: /Allow private addresses/ }).click();
  await shot(page, "provider-form-1440-light");
  await accessibility(page);
  await save();
  await page.getByRole("cell", { name: /private addresses allowed/ }).waitFor();

  await page.goto(`${server.url}/tokens`);
  await page.getByRole("button", { name: "New token" }).click();
  await page.getByLabel("Name").fill("ci");
  await save();
  await page.getByText("akm_V0k3n", { exact: false }).waitFor();
  await shot(page, "token-made-1440-light");
  await page.getByRole("button", { name: "I have saved it" }).click();
  await page.getByRole("button", { name: "Revoke ci" }).click();
  await page.getByRole("button", { name: "Really revoke ci" }).click();
  await page.getByRole("heading", { name: "No API tokens yet" }).waitFor();
  await close();
});

/** Waits for an address and what says that its page is there; a failure says where the page was instead. */
async function arrives(page, where, heading) {
  try {
    await page.waitForURL(where);
    await page.getByRole("heading", { level: 1, name: heading }).waitFor();
  } catch (error) {
    const focus = await page.evaluate(() => document.activeElement?.cloneNode(false).outerHTML);
    throw new Error(`${error.message}\nit is at ${page.url()}, the focus on ${focus}`);
  }
}

// Slow as well: keys come faster than the page, and a search waits for rest while one goes on.
for (const slower of [1, 10])
  plan(`the keyboard helps, moves and goes${slower > 1 ? ` on a machine ${slower} times slower` : ""}`, async () => {
    const { server, context, page, close } = await open();
    await page.goto(`${server.url}/incidents`);
    await page.locator("a[data-index]").first().waitFor();
    await (await context.newCDPSession(page)).send("Emulation.setCPUThrottlingRate", { rate: slower });
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await shot(page, "help-1440-light", { full: false });
    await page.keyboard.press("Escape");
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    assert((await page.evaluate(() => document.activeElement.dataset.index)) === "0", "k did not go back");
    await page.keyboard.press("/");
    await page.keyboard.type("lag");
    await page.waitForURL("**q=lag");
    await until("one row", async () => (await page.locator("a[data-index]").count()) === 1);
    await page.keyboard.type("s"); // nobody rests after this
    await page.keyboard.press("Escape");
    await page.keyboard.press("g");
    await page.keyboard.press("s");
    await arrives(page, "**/sources", "Sources");
    await page.waitForTimeout(200); // longer than the search's rest
    await arrives(page, "**/sources", "Sources");
    await page.goBack();
    await arrives(page, "**/incidents?q=lag*", "Incidents");
    await close();
  });

plan("on a phone the menu opens and nothing is too wide", async () => {
  const { server, page, close } = await open({}, { viewport: narrow, colorScheme: "dark" });
  await page.goto(`${server.url}/incidents`);
  await page.getByRole("button", { name: "Open the menu" }).click();
  await shot(page, "menu-390-dark", { full: false });
  await page.getByRole("link", { name: "Targets" }).click();
  await page.waitForURL("**/targets");
  await page.getByRole("button", { name: "New target" }).click();
  await shot(page, "target-form-390-dark");
  assert((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "it is too wide");
  await accessibility(page);
  await close();
});

plan("a chart that is late to follow its box does not widen the page", async () => {
  const { server, page, close } = await open();
  await page.addInitScript(() => (ResizeObserver.prototype.observe = () => {}));
  await page.goto(`${server.url}/`);
  await page.locator("figure canvas").first().waitFor();
  await page.setViewportSize(narrow);
  assert((await page.evaluate(() => document.querySelector("figure canvas").clientWidth)) > narrow.width, "the canvas has followed");
  assert((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "it is too wide");
  await close();
});

const started = Date.now();
await Promise.all(
  Array.from({ length: 4 }, async () => {
    for (let run = checks.shift(); run; run = checks.shift()) await run();
  }),
);
for (const run of measured) await run();
await browser.close();
console.log(`\nstates: ${Math.round((Date.now() - started) / 1000)} s`);
report();
process.exit(); // a check that has failed leaves its server behind

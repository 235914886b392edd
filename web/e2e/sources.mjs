// Checks of the sources' pages against a real api: from a new source to its end,
// through a test, dead letters, set-up mode, settings and another secret.
import { createServer } from "node:http";
import { accessibility, assert, check, until } from "./browser.mjs";

const json = { "Content-Type": "application/json" };

/** An Alertmanager with one alert that nobody was told of. It keeps what proved its callers. */
async function alertmanager() {
  const hour = 3_600_000;
  const at = (ms) => new Date(Date.now() + ms).toISOString();
  const alert = { fingerprint: "9f2c", startsAt: at(-hour), updatedAt: at(0), endsAt: at(hour), status: { state: "active", silencedBy: [], inhibitedBy: [] }, labels: { alertname: "Missed" }, annotations: {}, receivers: [{ name: "akmatori" }], generatorURL: "" };
  const answers = {
    "/api/v2/status": { uptime: at(-5 * hour), cluster: { status: "ready", peers: [] }, versionInfo: {}, config: { original: "" } },
    "/api/v2/alerts": [alert],
    "/api/v2/receivers": [{ name: "akmatori" }],
  };
  const proofs = [];
  const server = createServer((request, response) => {
    proofs.push(request.headers.authorization);
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(answers[new URL(request.url, "http://localhost").pathname] ?? []));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { url: `http://127.0.0.1:${server.address().port}`, proofs, stop: () => (server.closeAllConnections(), server.close()) };
}

/** Runs them. What they make they delete again, but for a user who may only read. */
export async function sourceChecks({ browser, context, page, watched, base }) {
  const mark = `src-${Date.now().toString(36)}`;
  const call = async (method, path, data) => {
    const answer = await context.request.fetch(`${base}/api/v1${path}`, { method, headers: json, ...(data && { data }) });
    assert(answer.ok(), `${method} ${path}: ${answer.status()} ${await answer.text()}`);
    return answer.status() === 204 ? undefined : answer.json();
  };
  let source;
  const send = (body, secret = source.secret) =>
    context.request.post(`${base}/webhook/alert/${source.id}`, { headers: { ...json, Authorization: `Bearer ${secret}` }, data: body });
  const area = (name) => page.getByRole("region", { name, exact: true });
  const row = () => page.getByRole("row", { name: mark });

  await check("a source's page has its configuration, and a test event goes all the way", async () => {
    source = await call("POST", "/sources", { name: mark, kind: "webhook" });
    await page.goto(`${base}/sources`);
    await row().getByText("Nothing yet").waitFor();
    await page.getByRole("link", { name: mark, exact: true }).click();
    await page.waitForURL(`**/sources/${source.id}`);
    const setup = await call("GET", `/sources/${source.id}/setup`);
    for (const step of setup.items) assert((await page.getByLabel(step.title, { exact: true }).innerText()).trim() === step.text.trim(), `${step.title} differs`);
    await area("Test").getByRole("button", { name: "Send a test event" }).click();
    await page.getByText("Everything went well.").waitFor();
    const steps = await area("Test").getByRole("listitem").allInnerTexts();
    assert(steps.length >= 5 && /incident \d+/.test(steps.join(" ")), steps.join("\n"));
    await area("Test").getByLabel("The secret that the sender has").fill("not the secret");
    await area("Test").getByRole("button", { name: "Send a test event" }).click();
    await page.getByText("It did not come all the way.").waitFor();
    await page.goto(`${base}/sources`);
    await row().getByText("Receiving").waitFor();
  });

  await check("a dead letter is shown as text, and read again when its mapping fits", async () => {
    const hostile = `{"checks":[{"id":"q","text":"<img src=x onerror='window.hacked=1'>\u202equeue","state":"firing"}]}`;
    assert((await send(hostile)).status() === 202, "it was not kept");
    await page.goto(`${base}/sources/${source.id}`);
    const letters = area("Deliveries");
    await letters.getByText("neither a title nor an identity").waitFor();
    await letters.getByRole("button", { name: "Show the body" }).click();
    const body = letters.locator("[data-output]");
    await body.waitFor();
    const text = await body.innerText();
    assert(text.includes("<img src=x") && text.includes("U+202E"), text);
    assert((await page.locator("main img").count()) === 0 && (await page.evaluate(() => globalThis.hacked)) === undefined, "it became markup");
    await accessibility(page);
    await letters.getByRole("button", { name: "Read it again" }).click();
    await letters.getByText("It stays a dead letter").waitFor();

    const form = page.getByRole("form", { name: "Settings" });
    await form.getByLabel("Where an alert's fields are in the body").fill('{"alerts":"$.checks","fields":{"identity":"@.id","title":"@.text","status":"@.state"}}');
    await form.getByText("Try it: what would be read").click();
    await form.getByRole("button", { name: "Take the newest delivery" }).click();
    await until("the body", async () => (await form.getByLabel("A body as the sender sends it").inputValue()).includes("checks"));
    await form.getByRole("button", { name: "Show what would be read" }).click();
    await form.getByText("1 alert would be read.").waitFor();
    await form.getByRole("button", { name: "Save the settings" }).click();
    await area("Settings").getByText("Saved.").waitFor();
    await letters.getByRole("button", { name: "Read all of them again" }).click();
    await letters.getByText("None. Everything that arrived was read.").waitFor();
    const health = await call("GET", `/sources/${source.id}/health`);
    assert(health.dead_letters === 0, `${health.dead_letters} dead letters are left`);
  });

  await check("what is wrong in the settings is said at its field, and what is right is kept", async () => {
    await page.goto(`${base}/sources/${source.id}`);
    const form = page.getByRole("form", { name: "Settings" });
    const save = form.getByRole("button", { name: "Save the settings" });
    const hold = form.getByLabel("Wait before resolving");
    const said = async () => (await hold.getAttribute("aria-invalid")) === "true" && form.locator(`[id="${((await hold.getAttribute("aria-describedby")) ?? "").split(" ").find((id) => id.endsWith("-error"))}"]`).innerText();
    await hold.fill("soon");
    await save.click();
    assert(/length of time/.test(await until("an error at the field", said)), "the page did not refuse it");
    watched.expect.push(/status of 422.*\/sources\//);
    await hold.fill("2h");
    await save.click();
    await until("the api's refusal at the field", async () => /at most 1h/.test(await said()));
    await hold.fill("2m");
    await form.getByLabel("Raise an alert when nothing arrives for").fill("1d");
    await form.getByRole("button", { name: "Add a word" }).click();
    await form.getByLabel("The sender's word").fill("page");
    await form.getByLabel("Severity of page").selectOption("critical");
    await save.click();
    await area("Settings").getByText("Saved.").waitFor();
    const { options, settings } = await call("GET", `/sources/${source.id}`);
    assert(options.flap_hold_seconds === 120 && options.silent_after_seconds === 86_400 && options.severities.page === "critical", JSON.stringify(options));
    assert(settings.alerts === "$.checks", "the mapping was lost");
    await page.reload();
    assert((await hold.inputValue()) === "2m", "what is in force is not shown");
  });

  await check("set-up mode is loud, keeps what does not prove itself, and is ended", async () => {
    await page.goto(`${base}/sources/${source.id}`);
    await area("Set-up mode").getByRole("button", { name: "Start set-up mode" }).click();
    const banner = page.getByRole("alert").filter({ hasText: "Set-up mode, for" });
    await banner.waitFor();
    assert((await send('{"id":"x","title":"From anybody"}', "wrong")).status() === 202, "it was refused");
    await area("Deliveries").getByText("Not proven").waitFor({ timeout: 20_000 });
    await page.goto(`${base}/sources`);
    await row().getByText("Set-up mode", { exact: true }).waitFor();
    await page.getByRole("link", { name: mark, exact: true }).click();
    await banner.getByRole("button", { name: "End set-up mode" }).click();
    await banner.waitFor({ state: "detached" });
    assert((await send('{"id":"x","title":"From anybody"}', "wrong")).status() === 401, "it is still taken");
  });

  await check("another secret is shown once, stands in the configuration, and counts at once", async () => {
    await page.goto(`${base}/sources/${source.id}`);
    const secret = area("Secret");
    await secret.getByRole("switch", { name: "Refuse the old secret at once" }).click();
    await secret.getByRole("button", { name: "Make a new secret" }).click();
    const made = (await secret.getByLabel("the secret", { exact: true }).innerText()).trim();
    assert(made.startsWith("akmh_"), made);
    assert((await area("The sender's configuration").innerText()).includes(`Bearer ${made}`), "the configuration does not have it");
    await accessibility(page);
    await until("the new secret", async () => (await send('{"checks":[]}', made)).status() === 202);
    assert((await send('{"checks":[]}')).status() === 401, "the old one still counts");
    source.secret = made;
    await secret.getByRole("button", { name: "I have saved it" }).click();
    assert(!(await page.content()).includes(made), "the secret is still on the page");
  });

  await check("whoever may only read sees no way to change a source", async () => {
    const { link } = await call("POST", "/users", { username: `${mark}-viewer`, roles: ["viewer"] });
    const other = await browser.newContext();
    try {
      const token = /akmi_[\w-]+/.exec(link)[0];
      const accepted = await other.request.post(`${base}/api/v1/auth/accept`, { headers: json, data: { token, password: "correct horse battery" } });
      assert(accepted.ok(), `the invitation: ${accepted.status()}`);
      await other.request.post(`${base}/api/v1/auth/login`, { headers: json, data: { username: `${mark}-viewer`, password: "correct horse battery" } });
      const theirs = await other.newPage();
      await theirs.goto(`${base}/sources`);
      await theirs.getByRole("link", { name: mark, exact: true }).waitFor();
      assert((await theirs.getByRole("button", { name: "New source" }).count()) === 0, "they may add one");
      await theirs.getByRole("link", { name: mark, exact: true }).click();
      await theirs.getByText("Only who may manage sources can change them.").waitFor();
      await theirs.getByText("Wait before resolving").waitFor();
      await until("the deliveries", async () => (await theirs.getByRole("region", { name: "Deliveries" }).getByText("Not proven").count()) > 0);
      const buttons = (await theirs.locator("main").getByRole("button").allInnerTexts()).filter(Boolean);
      assert(buttons.length === 0, `they have the buttons ${buttons}`);
      assert((await theirs.locator("main input, main textarea").count()) === 0, "they have fields");
      await accessibility(theirs);
    } finally {
      await other.close();
    }
  });

  // The api can reach an Alertmanager of ours only if it runs here, too.
  if (new URL(base).hostname === "127.0.0.1") {
    await check("a sender is asked for what was missed, with a secret of its own, and it is said when it cannot be", async () => {
      const sender = await alertmanager();
      const asked = await call("POST", "/sources", { name: `${mark}-am`, kind: "alertmanager" });
      try {
        await page.goto(`${base}/sources/${asked.id}`);
        const form = page.getByRole("form", { name: "Settings" });
        await form.getByLabel("Ask every").fill("1h");
        await form.getByRole("button", { name: "Save the settings" }).click();
        await form.getByText("Where Alertmanager can be asked").waitFor();
        await form.getByLabel("Alertmanager's address").fill(sender.url);
        await form.getByRole("button", { name: "Save the settings" }).click();
        await area("Settings").getByText("Saved.").waitFor();
        const asking = area("Reconciliation");
        const ask = asking.getByRole("button", { name: "Ask now" });
        await ask.click();
        await asking.getByText("Asked:").waitFor();
        await until("what was missed", async () => (await call("GET", `/sources/${asked.id}/health`)).reconciliation.missed === 1);
        await asking.getByText("It wants a secret").click();
        await asking.getByLabel("Token").fill("a token of the test");
        await asking.getByRole("button", { name: "Save it" }).click();
        await asking.getByText("It is shown a secret").waitFor();
        await ask.click();
        await until("the secret", () => sender.proofs.includes("Bearer a token of the test"));
        await asking.getByText("everything that is open there is known here").waitFor();
        await accessibility(page);
        sender.stop();
        watched.expect.push(/status of \d+.*\/reconcile/);
        await ask.click();
        await asking.getByText("It could not be asked.").waitFor();
      } finally {
        sender.stop();
        await call("DELETE", `/sources/${asked.id}`);
      }
    });
  }

  await check("a source that is off says so; it is deleted by its name", async () => {
    await call("PATCH", `/sources/${source.id}`, { enabled: false });
    await page.goto(`${base}/sources/${source.id}`);
    await page.getByText("This source is off.").waitFor();
    await page.getByRole("button", { name: "Turn it on" }).click();
    await page.getByText("This source is off.").waitFor({ state: "detached" });
    const remove = area("Delete");
    assert(await remove.getByRole("button").isDisabled(), "one press deletes it");
    await remove.getByLabel(`Type ${mark} to delete it`).fill(mark);
    await remove.getByRole("button").click();
    await page.waitForURL("**/sources");
    await row().waitFor({ state: "detached" });
    watched.expect.push(/status of 404.*\/sources\//);
    await page.goto(`${base}/sources/${source.id}`);
    await page.getByText("There is no such source").waitFor();
  });
}

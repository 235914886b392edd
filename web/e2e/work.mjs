// Checks of what people do, against a real api: invite each other, decide what
// is asked, say what becomes one incident, and put incidents right by hand.
//   GATEWAY_URL    where the gateway is: the approvals need it
import { accessibility, assert, check, narrow, reportViolations, shot, until, watch, wide } from "./browser.mjs";

const json = { "Content-Type": "application/json" };

/** Runs them. What changes what others see they take back; a user and incidents stay. */
export async function workChecks({ browser, context, page, watched, base }) {
  const mark = `w${Date.now().toString(36)}`;
  const dana = `dana-${mark}`;
  const call = async (method, path, data) => {
    const answer = await context.request.fetch(`${base}/api/v1${path}`, { method, headers: json, ...(data && { data }) });
    assert(answer.ok(), `${method} ${path}: ${answer.status()} ${await answer.text()}`);
    return answer.status() === 204 ? undefined : answer.json();
  };
  const theirs = await browser.newContext({ viewport: narrow, colorScheme: "dark" });
  await reportViolations(theirs);
  const other = await theirs.newPage();
  other.setDefaultTimeout(10_000);
  const watchedToo = watch(other, base);

  await check("an invited user sets a password, and sees what their roles let them", async () => {
    await page.goto(`${base}/accounts`);
    await page.getByRole("button", { name: "Invite a user" }).click();
    await page.getByLabel("User name").fill(dana);
    await page.getByRole("checkbox", { name: "viewer", exact: true }).uncheck();
    await page.getByRole("checkbox", { name: "approver", exact: true }).check();
    await shot(page, "accounts-new-1440-light");
    await accessibility(page);
    await page.getByRole("button", { name: "Make the link" }).click();
    const link = new URL(await page.getByLabel("the link", { exact: true }).innerText());
    await page.getByRole("button", { name: "I have saved it" }).click();
    assert(!(await page.content()).includes(link.hash.slice(1)), "the link is still on the page");
    await page.getByRole("listitem").filter({ hasText: dana }).getByText("Invited").waitFor();

    await other.goto(`${base}/accept${link.hash}`);
    await other.getByRole("textbox", { name: "Password" }).fill("a first password");
    await accessibility(other);
    await shot(other, "accept-390-dark");
    await other.getByRole("button", { name: "Set the password" }).click();
    await other.waitForURL(`${base}/`);
    assert(!other.url().includes("token"), "the token is still in the address");
    await other.getByRole("button", { name: "Open the menu" }).click();
    await other.getByRole("link", { name: "Grouping rules" }).waitFor();
    for (const hidden of ["Users and roles", "Credentials"]) assert((await other.getByRole("link", { name: hidden }).count()) === 0, `${hidden} is there`);
    await other.goto(`${base}/grouping`);
    await other.getByRole("heading", { level: 1 }).waitFor();
    await until("the rules", async () => (await other.getByRole("status", { name: "Loading" }).count()) === 0);
    assert((await other.getByRole("button", { name: "New rule" }).count()) === 0, "rules can be made");
  });

  await check("a user changes their password, and it counts", async () => {
    await other.goto(`${base}/account`);
    watchedToo.expect.push(/status of 403.*auth\/password/);
    await other.getByRole("textbox", { name: "Current password" }).fill("not my password");
    await other.getByRole("textbox", { name: "New password" }).fill("a second password");
    await other.getByRole("button", { name: "Change it" }).click();
    await other.getByText("The password was not changed.").waitFor();
    await other.getByRole("textbox", { name: "Current password" }).fill("a first password");
    await other.getByRole("button", { name: "Change it" }).click();
    await other.getByText("Your password is changed.").waitFor();
    await accessibility(other);
    await other.getByRole("button", { name: "Open the menu" }).click();
    await other.getByRole("button", { name: "Sign out" }).click();
    await other.waitForURL("**/login**");
    await other.getByLabel("User name").fill(dana);
    await other.getByRole("textbox", { name: "Password" }).fill("a second password");
    await other.getByRole("button", { name: "Sign in" }).click();
    await other.waitForURL(`${base}/`);
  });

  if (process.env.GATEWAY_URL) await approvalChecks({ call, page, other, base, mark });
  else console.log("skip  approvals: GATEWAY_URL is not set");

  let source;
  const send = async (part, names, status = "firing") => {
    const alerts = names.map((name) => ({
      status,
      labels: { alertname: name, e2e: mark, part, severity: "warning" },
      annotations: { summary: `${name} of ${part}` },
      startsAt: new Date().toISOString(),
      endsAt: "0001-01-01T00:00:00Z",
      fingerprint: `${mark}${part}${name}`,
    }));
    const answer = await context.request.post(`${base}/webhook/alert/${source.id}`, {
      headers: { ...json, Authorization: `Bearer ${source.secret}` },
      data: { version: "4", status, groupKey: `{}:{part="${part}"}`, groupLabels: {}, commonLabels: {}, commonAnnotations: {}, externalURL: "http://am.invalid", receiver: "e2e", alerts },
    });
    assert(answer.ok(), `the alerts were refused: ${answer.status()}`);
  };
  const found = async (part) =>
    until(`the incident of ${part}`, async () => (await call("GET", `/incidents?q=${mark}`)).items.find((i) => i.group_key === `${mark}/${part}`));
  const rule = `Rule ${mark}`;
  const planned = `Work ${mark}`;

  await check("a grouping rule is tried before it is saved, and then decides", async () => {
    source = await call("POST", "/sources", { name: `am-${mark}`, kind: "alertmanager" });
    await page.setViewportSize(wide);
    await page.goto(`${base}/grouping`);
    await page.getByRole("button", { name: "New rule" }).click();
    await page.getByLabel("Name").fill(rule);
    watched.expect.push(/status of 422.*grouping-rules\/preview/);
    await page.getByLabel("Which alerts").fill('nonsense="1"');
    await page.getByRole("region", { name: "Preview" }).getByText('there is no field "nonsense"').waitFor();
    await page.getByLabel("Which alerts").fill("");
    await page.getByLabel("Become one incident by").fill("{{source}}");
    await page.getByRole("region", { name: "Preview" }).getByText("It would have decided").waitFor();
    await accessibility(page);
    await shot(page, "grouping-edit-1440-light");
    await page.getByLabel("Which alerts").fill(`labels.e2e="${mark}"`);
    await page.getByLabel("Become one incident by").fill("{{labels.e2e}}/{{labels.part}}");
    await page.getByRole("region", { name: "Preview" }).getByText("It would have decided none").waitFor();
    await page.getByLabel("Investigate its incidents").uncheck();
    await page.getByRole("button", { name: "Save" }).click();
    const row = page.getByRole("listitem").filter({ hasText: rule });
    await row.getByText("Not investigated").waitFor();
    const order = async () => (await call("GET", "/grouping-rules")).items.sort((a, b) => a.position - b.position).map((r) => r.name);
    const later = await call("POST", "/grouping-rules", { name: `Later ${mark}`, position: 100_000, match: `labels.e2e="${mark}"`, key: "never" });
    await page.reload();
    await page.getByRole("button", { name: `Try Later ${mark} earlier` }).click();
    await until("the new order", async () => (await order()).indexOf(later.name) < (await order()).indexOf(rule));
    await page.getByRole("button", { name: `Try Later ${mark} later` }).click();
    await until("the old order", async () => (await order()).indexOf(later.name) > (await order()).indexOf(rule));
  });

  await check("a maintenance window is on from its making, and marks incidents", async () => {
    await page.goto(`${base}/maintenance`);
    await page.getByRole("button", { name: "New window" }).click();
    await page.getByLabel("Name").fill(planned);
    await page.getByLabel("Which alerts").fill(`labels.e2e="${mark}"`);
    await page.getByLabel("How often").selectOption("weekly");
    await accessibility(page);
    await page.getByLabel("How often").selectOption("once");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("listitem").filter({ hasText: planned }).getByText("On now").waitFor();
    await send("a", [`First ${mark}`, `Second ${mark}`, `Third ${mark}`]);
    await send("b", [`Other ${mark}`]);
    const a = await found("a");
    assert(a.alert_count === 3 && a.rule_id && !a.investigation, `the rule did not decide: ${JSON.stringify(a)}`);
    await page.goto(`${base}/incidents/${a.number}`);
    await page.getByText(`Maintenance: ${planned}`).waitFor();
    await page.getByText("Nothing investigates it:").waitFor();
    await page.getByLabel("Facts").getByRole("link", { name: rule }).waitFor();
  });

  await check("an incident is assigned and edited, by keyboard too", async () => {
    const a = await found("a");
    await page.goto(`${base}/incidents/${a.number}`);
    const assign = page.getByRole("button", { name: "Assign", exact: true });
    await assign.focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("User name").fill(dana);
    await page.keyboard.press("Escape");
    await until("the focus where it was", () => assign.evaluate((el) => el === document.activeElement));
    await page.keyboard.press("Enter");
    await page.getByLabel("User name").fill(dana);
    await accessibility(page);
    await page.keyboard.press("Enter");
    await page.getByLabel("Facts").getByText(dana).waitFor();
    await page.getByRole("button", { name: "Edit", exact: true }).click();
    await page.getByLabel("Title").fill(`Put right ${mark}`);
    await page.getByLabel("Severity").selectOption("critical");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("heading", { level: 1, name: `Put right ${mark}` }).waitFor();
    await page.getByLabel("Facts").getByText("assignee, severity, title").waitFor();
    const { severity, assignee } = await call("GET", `/incidents/${a.number}`);
    assert(severity === "critical" && assignee === dana, `it is ${severity}, of ${assignee}`);
  });

  await check("alerts say why they are here, are split off, moved back, and all of it is merged", async () => {
    const [a, b] = [await found("a"), await found("b")];
    await page.goto(`${base}/incidents/${a.number}`);
    const row = page.locator("details").filter({ hasText: `Third ${mark}` }).first();
    await row.locator("summary").first().click();
    await row.getByText("Why grouped here:").waitFor();
    assert((await row.innerText()).includes(rule), `it does not name the rule: ${await row.innerText()}`);
    await row.getByText("All that is kept of it").click();
    await row.getByText(`${mark}aThird ${mark}`).first().waitFor();

    await page.getByRole("button", { name: "Split or move" }).click();
    await page.getByRole("button", { name: "Choose all that are shown" }).click();
    assert(await page.getByRole("button", { name: "Split off" }).isDisabled(), "all alerts can be split off");
    for (const name of ["First", "Second"]) await page.getByLabel(`Choose ${name} ${mark}`).uncheck();
    await page.getByLabel("Title of the new incident").fill(`Split ${mark}`);
    await accessibility(page);
    await shot(page, "incident-split-1440-light");
    await page.getByRole("button", { name: "Split off" }).click();
    await page.getByRole("heading", { level: 1, name: `Split ${mark}` }).waitFor();
    const split = Number(/incidents\/(\d+)/.exec(page.url())?.[1]);
    assert(split !== a.number && (await call("GET", `/incidents/${a.number}`)).alert_count === 2, "it was not split");

    await page.getByRole("button", { name: "Split or move" }).click();
    await page.getByRole("checkbox", { name: `Choose Third ${mark}` }).check();
    await page.getByLabel("Number of another incident").fill(`#${a.number}`);
    await page.getByRole("button", { name: `Move to #${a.number}` }).click();
    await page.waitForURL(`**/incidents/${a.number}`);
    await until("three alerts", async () => (await call("GET", `/incidents/${a.number}`)).alert_count === 3);

    await page.goto(`${base}/incidents/${b.number}`);
    await page.getByRole("button", { name: "Merge", exact: true }).click();
    await page.getByLabel("Incident number").fill(String(b.number));
    await page.getByText("That is this incident.").waitFor();
    await page.getByLabel("Incident number").fill(String(a.number));
    await page.getByRole("button", { name: `Merge into #${a.number}` }).click();
    await page.waitForURL(`**/incidents/${a.number}`);
    await page.goto(`${base}/incidents/${b.number}`);
    await page.getByText("Now a part of").waitFor();
    assert((await page.getByRole("button", { name: "Split or move" }).count()) === 0, "a merged incident can be changed");
    await accessibility(page);
    await shot(page, "incident-merged-1440-light");
    await page.getByRole("link", { name: `#${a.number} Put right ${mark}` }).click();
    await page.waitForURL(`**/incidents/${a.number}`);
    assert((await call("GET", `/incidents/${a.number}`)).alert_count === 4, "the alerts did not go over");
  });

  await check("rules and windows are removed, roles made, and a disabled user is out", async () => {
    // First what they hold back: it would be investigated.
    await call("POST", `/incidents/${(await found("a")).id}/resolve`);
    await call("DELETE", `/sources/${source.id}`);
    for (const [path, names] of [
      ["/grouping", [rule, `Later ${mark}`]],
      ["/maintenance", [planned]],
    ]) {
      await page.goto(base + path);
      for (const name of names) {
        await page.getByRole("button", { name: `Remove ${name}` }).click();
        await page.getByRole("button", { name: `Really remove ${name}` }).click();
        await page.getByRole("heading", { name }).waitFor({ state: "detached" });
      }
    }
    await page.goto(`${base}/accounts`);
    await page.getByRole("button", { name: "New role" }).click();
    await page.getByLabel("Name").fill(mark);
    await page.getByLabel("Read the audit log").check();
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("listitem").filter({ hasText: "read, audit.read" }).getByRole("heading", { name: mark }).waitFor();
    await page.getByRole("button", { name: `Remove ${mark}` }).click();
    await page.getByRole("button", { name: `Really remove ${mark}` }).click();
    await page.getByRole("heading", { name: mark, exact: true }).waitFor({ state: "detached" });
    watchedToo.expect.push(/status of 401/);
    await page.getByRole("button", { name: `Disable ${dana}` }).click();
    await page.getByRole("button", { name: `Really disable ${dana}` }).click();
    await page.getByRole("button", { name: `Enable ${dana}` }).waitFor();
    await other.goto(`${base}/incidents`);
    await other.waitForURL("**/login**");
  });

  await check("what loads slowly, fails and comes back says so on each page", async () => {
    watched.expect.push(/status of 503/);
    for (const [path, call, words] of [
      ["/approvals", "approvals", "The approvals could not be read."],
      ["/grouping", "grouping-rules", "The rules could not be read."],
      ["/maintenance", "maintenance-windows", "The windows could not be read."],
      ["/accounts", "users", "The users could not be read."],
    ]) {
      let failing = true;
      let answer;
      const held = new Promise((go) => (answer = go));
      const where = (url) => url.pathname === `/api/v1/${call}`;
      await page.route(where, async (route) => {
        await held;
        if (!failing) return route.fallback();
        await route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify({ title: "Service Unavailable", status: 503, detail: "the database is away" }) });
      });
      await page.goto(base + path);
      await page.getByRole("status", { name: "Loading" }).first().waitFor();
      answer();
      await page.getByText(words).waitFor({ timeout: 30_000 }); // it is tried again a few times first
      await page.getByText("The database is away.").first().waitFor();
      await accessibility(page);
      await shot(page, `failing${path.replace("/", "-")}-1440-light`);
      failing = false;
      await page.getByRole("button", { name: "Try again" }).first().click();
      await page.getByText(words).waitFor({ state: "detached" });
      await page.unroute(where);
    }
  });

  await theirs.close();
  await check("nothing was refused by the policy on the other user's page", () => {
    assert(watchedToo.wrong.length === 0, watchedToo.wrong.join("\n"));
  });
}

/** A client asks through the gateway, as the admin: who asks cannot approve, another one can. */
async function approvalChecks({ call, page, other, base, mark }) {
  const { id, token } = await call("POST", "/gateway-tokens", { name: mark, agent: "investigator", days: 1 });
  let calls = 0;
  /** Asks for something that no rule allows; the promise is what becomes of it. */
  const ask = async (unit) => {
    const answer = await fetch(`${process.env.GATEWAY_URL}/mcp`, {
      method: "POST",
      headers: { ...json, Accept: "application/json, text/event-stream", Authorization: `Bearer ${token}` },
      body: JSON.stringify({ jsonrpc: "2.0", id: ++calls, method: "tools/call", params: { name: "ssh_execute", arguments: { target: "demo-host", command: `systemctl restart ${unit}` } } }),
    });
    return (await answer.text()) || String(answer.status);
  };
  const card = (on, unit) => on.getByRole("article").filter({ hasText: `systemctl restart ${unit}` });
  const stateOf = async (unit) => (await call("GET", "/approvals")).items.find((a) => a.command === `systemctl restart ${unit}`)?.state;

  await check("who asks cannot approve; another one can, and then it runs", async () => {
    const unit = `${mark}-one`;
    const asked = ask(unit);
    await page.goto(`${base}/approvals`);
    const mine = card(page, unit);
    await mine.getByText("You have asked for this yourself").waitFor();
    assert(await mine.getByRole("button", { name: "Approve" }).isDisabled(), "one can approve one's own");
    await accessibility(page);
    await shot(page, "approvals-1440-light");
    await other.goto(`${base}/approvals`);
    await card(other, unit).getByText("SHA256:").waitFor();
    await accessibility(other);
    await shot(other, "approvals-390-dark");
    await card(other, unit).getByRole("button", { name: "Approve" }).click();
    await card(other, unit).waitFor({ state: "detached" });
    assert((await stateOf(unit)) === "approved", "it is not approved");
    const became = await asked;
    assert(/exit/i.test(became) && !/denied/.test(became), `it did not run: ${became}`);
  });

  await check("a denial is read by who asked, and is decided by keyboard", async () => {
    const unit = `${mark}-two`;
    const asked = ask(unit);
    await card(other, unit).getByLabel("Reason").fill("not on a Friday");
    await other.getByRole("heading", { level: 1 }).click(); // keys count where nobody types
    await other.keyboard.press("n");
    await card(other, unit).getByRole("button", { name: "Really deny" }).waitFor();
    await other.keyboard.press("n");
    await card(other, unit).waitFor({ state: "detached" });
    assert((await stateOf(unit)) === "denied", "it is not denied");
    const became = await asked;
    assert(became.includes("not on a Friday"), `the reason is not told: ${became}`);
    await other.getByText("All", { exact: true }).click();
    await card(other, unit).getByText("not on a Friday").waitFor();
    await accessibility(other);
    await shot(other, "approvals-all-390-dark");
  });

  await call("DELETE", `/gateway-tokens/${id}`);
}

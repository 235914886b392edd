// The set-up from zero to a concluded incident: a second deployment on fresh data
// is led through the wizard by its first admin. Its model and its host are those
// of the demo around it: the scripted vendor over HTTP, and a server for SSH.
//   BASE_URL, ADMIN_TOKEN   of the demo
//   DATA_DIR                its data, where the key of its model and the login of its host are
import { spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { accessibility, assert, check, narrow, reportViolations, shot, until, watch, wide } from "./browser.mjs";

/** Starts the product on fresh data, with more flags, and gives what it prints. */
export async function deployment(...flags) {
  const dir = await mkdtemp(join(tmpdir(), "akmatori-second."));
  await chmod(dir, 0o711); // PostgreSQL may run as another user
  const dev = spawn(new URL("../../bin/akmatori-dev", import.meta.url).pathname, ["--data", join(dir, "data"), "--listen", "127.0.0.1:0", ...flags], { stdio: ["ignore", "pipe", "ignore"] });
  const ended = new Promise((done) => dev.once("close", done));
  const facts = {};
  createInterface({ input: dev.stdout }).on("line", (line) => {
    const at = line.indexOf("=");
    facts[line.slice(0, at)] = line.slice(at + 1);
  });
  const stop = async () => {
    dev.kill("SIGTERM");
    await ended;
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await until("the second deployment", () => facts.READY === "1" || dev.exitCode !== null, 120_000);
    assert(facts.READY === "1", "akmatori-dev ended during its start");
  } catch (error) {
    await stop();
    throw error;
  }
  return { facts, data: join(dir, "data"), stop };
}

export async function wizardChecks({ browser, base }) {
  const data = process.env.DATA_DIR;
  if (!data) {
    console.log("skip  the wizard from zero: DATA_DIR is not set");
    return;
  }
  let stop = async () => {};
  const context = await browser.newContext({ viewport: wide, colorScheme: "light" });
  try {
    await check("the wizard leads from nothing to a concluded incident", async () => {
      const demo = async (path) => (await fetch(`${base}/api/v1${path}`, { headers: { Authorization: `Bearer ${process.env.ADMIN_TOKEN}` } })).json();
      const model = (await demo("/llm-providers")).items.find((p) => p.name === "scripted");
      const host = (await demo("/targets")).items.find((t) => t.name === "demo-host");
      const key = (await readFile(join(data, "state", "script.key"), "utf8")).trim();
      const login = (await readFile(join(data, "state", "demo-login.key"), "utf8")).replace(/^ssh-[^\n]*\n/, ""); // the public half stands above it
      const second = await deployment();
      stop = second.stop;
      const { facts } = second;
      const url = facts.API_URL;

      await reportViolations(context);
      const page = await context.newPage();
      page.setDefaultTimeout(15_000);
      const watched = watch(page, url);
      await page.goto(`${url}/login`);
      await page.getByLabel("User name").fill(facts.ADMIN_USER);
      await page.getByRole("textbox", { name: "Password" }).fill(facts.ADMIN_PASSWORD);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForURL(`${url}/`);
      await page.getByText("a model, a source of alerts, a host, an investigated incident").waitFor();
      await page.getByText("Nothing is open.").waitFor();
      await accessibility(page);
      await shot(page, "wizard-none-1440-light");
      await page.getByRole("link", { name: "Go on with the set-up" }).click();
      await page.waitForURL("**/wizard");

      // The model.
      const form = page.getByRole("form", { name: "New model" });
      await accessibility(page);
      await shot(page, "wizard-model-1440-light");
      await form.getByLabel("Vendor").selectOption(model.kind);
      await form.locator('input[name="model"]').fill(model.model);
      await form.getByLabel("Base URL").fill(model.base_url);
      await form.getByRole("textbox", { name: "Key" }).fill(key);
      await form.getByLabel("Allow private addresses").check();
      await form.getByRole("button", { name: "Save the model" }).click();
      await page.getByRole("button", { name: "Test the model" }).click();
      await page.getByText("Works", { exact: true }).waitFor().catch(async () => { throw new Error(await page.getByRole("region", { name: "Model" }).innerText()); });
      await page.getByRole("button", { name: "Next: Alerts" }).click();

      // The source. A sender sends while the page waits.
      await page.waitForURL("**/wizard?step=source");
      await page.getByRole("button", { name: "Make the source" }).click();
      const config = await page.getByLabel("Into alertmanager.yml, then reload Alertmanager", { exact: true }).innerText();
      const [, hook] = /url: "([^"]+)"/.exec(config);
      const [, secret] = /credentials: "(akmh_[^"]+)"/.exec(config);
      await page.getByText("Waiting for the first alert.").waitFor();
      await accessibility(page);
      await shot(page, "wizard-source-waits-1440-light");
      // One may leave and come back: the source is still the step to go on with.
      await page.getByRole("link", { name: "Leave, and come back later" }).click();
      await page.getByText("the first alert, a host, an investigated incident").waitFor();
      await page.goBack();
      await page.getByText("Waiting for the first alert.").waitFor();

      // The host is there before the alert, so that the agent finds it.
      await page.getByRole("button", { name: /3\. Host/ }).click();
      const machine = page.getByRole("form", { name: "New host" });
      await machine.getByLabel("Name", { exact: true }).fill(host.name);
      await machine.getByLabel("Address").fill(host.address);
      await machine.getByLabel("SSH port").fill(String(host.port));
      await machine.getByLabel("User").fill(host.user);
      await machine.getByLabel("Private key").fill(login);
      await page.setViewportSize(narrow);
      await page.emulateMedia({ colorScheme: "dark" });
      await accessibility(page);
      await shot(page, "wizard-host-390-dark");
      assert((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "too wide");
      await page.setViewportSize(wide);
      await page.emulateMedia({ colorScheme: "light" });
      await machine.getByRole("button", { name: "Add the host" }).click();
      await page.getByRole("button", { name: "Ask the host for its keys" }).click();
      await page.getByText(host.host_keys[0].fingerprint).waitFor();
      await page.getByRole("button", { name: "Accept this key" }).click();
      await page.getByRole("button", { name: "I have compared it: pin this key" }).click();
      await page.getByText("The host has proved what is pinned.").waitFor();
      await page.getByRole("button", { name: "Try the login" }).click();
      await page.getByText("The agent can reach it.").waitFor().catch(async () => { throw new Error(await page.getByRole("region", { name: "Host", exact: true }).innerText()); });

      await page.getByRole("button", { name: /2\. Alerts/ }).click();
      await page.getByText("Waiting for the first alert.").waitFor();
      const now = new Date().toISOString();
      const sent = await fetch(hook, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${secret}` },
        body: JSON.stringify({
          version: "4",
          groupKey: "{}:{alertname=\"DiskFull\"}",
          status: "firing",
          receiver: "akmatori",
          groupLabels: { alertname: "DiskFull" },
          commonLabels: {},
          commonAnnotations: {},
          externalURL: "http://am.example.com",
          alerts: [{ status: "firing", labels: { alertname: "DiskFull", severity: "critical", instance: host.name }, annotations: { summary: "the disk is full" }, startsAt: now, endsAt: "0001-01-01T00:00:00Z", generatorURL: "http://prom.example.com", fingerprint: "0123456789abcdef" }],
        }),
      });
      assert(sent.status === 202 || sent.status === 200, `the alert: ${sent.status} ${await sent.text()}`);
      await page.getByText("Something has arrived").waitFor();

      // The first incident is investigated by itself.
      await page.getByRole("button", { name: /4\. First incident/ }).click();
      await page.getByText("Everything is set up.").waitFor({ timeout: 60_000 });
      await accessibility(page);
      await shot(page, "wizard-done-1440-light");
      await page.getByRole("link", { name: "Open the incident" }).click();
      await page.waitForURL(`${url}/incidents/1`);
      await page.getByText("Concluded").first().waitFor();
      await page.getByText(/root file system of demo-host/i).first().waitFor();
      await page.goto(`${url}/`);
      await page.getByRole("heading", { name: "On fire" }).waitFor();
      await until("no reminder", async () => (await page.getByText("Still missing:").count()) === 0);
      assert(watched.wrong.length === 0, watched.wrong.join("\n"));
    });
  } finally {
    await context.close();
    await stop();
  }
}

// What one takes from an incident, how its outputs are read, keys, and
// notifications.
import { readFile } from "node:fs/promises";
import { accessibility, assert, check, shot, until } from "./browser.mjs";

export async function craftChecks({ browser, context, page, watched, base }) {
  const api = async (path) => (await context.request.get(`${base}/api/v1${path}`)).json();
  const post = (path, data = {}) => context.request.post(`${base}/api/v1${path}`, { data });
  // One that an alert has opened, not a person.
  let incident;
  for (const i of (await api("/incidents?investigation=concluded&limit=50")).items) {
    if (!incident && i.alert_count > 0 && (await api(`/incidents/${i.id}/alerts`)).items[0].why) incident = i;
  }

  await check("the postmortem is downloaded, and copied", async () => {
    await page.goto(`${base}/incidents/${incident.number}`);
    await page.getByRole("button", { name: "Export" }).click();
    await shot(page, "export-1440-light", { full: false });
    await accessibility(page);
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download the postmortem" }).click()]);
    assert(file.suggestedFilename() === `incident-${incident.number}.md`, file.suggestedFilename());
    const text = await readFile(await file.path(), "utf8");
    for (const part of [`# Incident ${incident.number}: `, "## Timeline", "## Cost"]) assert(text.includes(part), `${part} is not in it`);
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: base });
    await page.getByRole("button", { name: "Export" }).click();
    await page.getByRole("button", { name: "Copy the postmortem" }).click();
    await page.getByText("Done.").waitFor();
    assert((await page.evaluate(() => navigator.clipboard.readText())).startsWith(`# Incident ${incident.number}: `), "it is not on the clipboard");
    await page.keyboard.press("Escape");
  });

  await check("an alert says why it is grouped here, and shows what was sent, to search and wrap", async () => {
    await page.goto(`${base}/incidents/${incident.number}`);
    const alerts = page.getByRole("region", { name: "Alerts" });
    await alerts.locator("summary").first().click();
    await alerts.getByText("Why grouped here:").first().waitFor();
    await alerts.getByText("As it was sent").first().click();
    const output = alerts.locator("[data-output]").first();
    await output.waitFor();
    await alerts.getByRole("button", { name: "Search the output" }).click();
    await alerts.getByLabel("Words to look for in the output").fill("alert");
    const hits = alerts.getByText(/^1 of \d+$/);
    await hits.waitFor();
    await page.keyboard.press("Enter");
    await alerts.getByText(/^2 of \d+$/).waitFor();
    await alerts.getByRole("button", { name: "Wrap long lines" }).click();
    assert((await alerts.locator("[data-wrap]").count()) === 1, "it does not wrap");
    await shot(page, "payload-1440-light", { full: false });
    await accessibility(page);
  });

  await check("the help names every key", async () => {
    await page.goto(`${base}/incidents`);
    await page.locator("a[data-index]").first().waitFor();
    await page.keyboard.press("?");
    const help = page.getByRole("dialog", { name: "Keyboard" });
    for (const where of ["Everywhere", "List of incidents", "An incident"]) await help.getByRole("heading", { name: where }).waitFor();
    await shot(page, "help-1440-light", { full: false });
    await accessibility(page);
    await page.keyboard.press("Escape");
  });

  await check("notifications are off, asked for by a press alone, and come while the page is hidden", async () => {
    const other = await browser.newContext({ storageState: await context.storageState() });
    await other.addInitScript(() => {
      globalThis.told = [];
      globalThis.asked = 0;
      globalThis.Notification = class {
        static permission = "default";
        static async requestPermission() {
          globalThis.asked++;
          this.permission = "granted";
          return "granted";
        }
        constructor(title, { body }) {
          globalThis.told.push(`${title}: ${body}`);
        }
      };
      Object.defineProperty(document, "hidden", { get: () => globalThis.away === true });
    });
    const tab = await other.newPage();
    await tab.goto(`${base}/account`);
    const critical = tab.getByRole("switch", { name: "A new critical incident" });
    await critical.waitFor({ state: "attached" });
    assert(!(await critical.isChecked()), "it is on");
    assert((await tab.evaluate(() => globalThis.asked)) === 0, "the permission was asked for unasked");
    await critical.click();
    await until("the permission", async () => (await tab.evaluate(() => globalThis.asked)) === 1);
    await until("the switch", () => critical.isChecked());
    await shot(tab, "notifications-1440-light");
    await tab.waitForResponse((r) => r.url().includes("severity=critical"));
    await tab.evaluate(() => (globalThis.away = true));
    const title = `notify${Date.now().toString(36)}`;
    await post("/incidents", { title, severity: "critical" });
    await until("the notification", async () => (await tab.evaluate(() => globalThis.told)).some((t) => t.includes(title)), 30_000);
    await tab.reload();
    await until("it is still on", () => tab.getByRole("switch", { name: "A new critical incident" }).isChecked());
    await other.close();
    assert(watched.wrong.length === 0, watched.wrong.join("\n"));
  });
}

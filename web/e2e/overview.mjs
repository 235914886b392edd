// The start page, the feed of all alerts, changes, usage with its budgets, and
// the health of the system.
import { accessibility, assert, check, until } from "./browser.mjs";

export async function overviewChecks({ context, page, base, incident }) {
  const json = { "Content-Type": "application/json" };
  const get = async (path) => (await context.request.get(`${base}/api/v1${path}`)).json();
  const mark = `over-${Date.now().toString(36)}`;

  await check("the dashboard shows what is on fire, and its numbers are also text", async () => {
    const made = await context.request.post(`${base}/api/v1/incidents`, { headers: json, data: { title: `${mark} the sky falls`, severity: "critical" } });
    assert(made.ok(), `the incident: ${made.status()} ${await made.text()}`);
    const { number } = await made.json();
    await page.goto(`${base}/incidents`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("d");
    await page.waitForURL(`${base}/`);
    await page.locator(`a[href="/incidents/${number}"]`).first().waitFor();
    const fire = page.getByRole("region", { name: "On fire" });
    const { open } = await get("/dashboard");
    const critical = open.find((o) => o.severity === "critical");
    await fire.getByRole("link", { name: new RegExp(`Critical ?${critical.triggered + critical.acknowledged}`) }).waitFor();
    await page.locator("canvas").first().waitFor();
    await page.getByText("What came in as a table").click();
    await until("24 hours", async () => (await page.getByRole("region", { name: "What came in as a table" }).locator("tbody tr").count()) === 24);
    await page.getByText("7 days", { exact: true }).click();
    await until("a week of hours", async () => (await page.getByRole("region", { name: "What came in as a table" }).locator("tbody tr").count()) === 168);
    await accessibility(page);
    await context.request.post(`${base}/api/v1/incidents/${number}/resolve`, { headers: json });
    await until("it is gone from the list", async () => (await fire.locator(`ul a[href="/incidents/${number}"]`).count()) === 0, 15_000);
  });

  await check("the feed finds an alert by a part of its text and leads to its incident", async () => {
    const { items } = await get(`/incidents/${incident.id}/alerts?limit=1`);
    await page.goto(`${base}/alerts`);
    await page.getByRole("listitem").filter({ hasText: items[0].title }).first().waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type(items[0].title.slice(1, 12));
    await page.waitForURL("**/alerts?q=*");
    const row = page.getByRole("listitem").filter({ has: page.locator(`a[href="/incidents/${incident.number}"]`) }).first();
    await row.locator("summary").click();
    await accessibility(page);
    await page.getByLabel("Search alerts").fill(`${mark} nobody said this`);
    await page.getByText("Nothing matches").waitFor();
    await page.getByRole("link", { name: "Show all alerts" }).click();
    await page.locator(`a[href="/incidents/${incident.number}"]`).first().click();
    await page.waitForURL(`**/incidents/${incident.number}`);
  });

  await check("a change is noted and found by its service", async () => {
    await page.goto(`${base}/changes`);
    await page.getByRole("button", { name: "Note a change" }).click();
    await page.getByRole("textbox", { name: "Service" }).fill(mark);
    await page.getByLabel("What was done").fill("<b>v2</b> deployed");
    await page.getByLabel("Link").fill("https://ci.example.com/1");
    await page.getByRole("button", { name: "Note it" }).click();
    await page.getByRole("cell", { name: mark }).waitFor();
    await page.getByRole("row").filter({ hasText: mark }).getByText("<b>v2</b> deployed").waitFor();
    await page.getByRole("searchbox", { name: "Service" }).fill(`${mark}-not`);
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("Nothing was noted of it").waitFor();
  });

  await check("a budget is set, shown with what it has used, and removed", async () => {
    await page.goto(`${base}/usage`);
    await page.getByRole("button", { name: "Set a budget" }).click();
    await page.getByLabel("Investigations a day").fill("100000");
    await page.getByLabel("US dollars a day").fill("250");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText(/of \$250/).waitFor();
    const budget = (await get("/budgets")).items.find((b) => b.scope === "all");
    assert(budget.runs === 100000 && budget.usd === 250 && budget.tokens === 0, JSON.stringify(budget));
    await accessibility(page);
    await page.getByRole("button", { name: "Remove the budget of All investigations" }).click();
    await page.getByText("nothing bounds what is spent").waitFor();
  });

  await check("the health page knows every process and its workers", async () => {
    await page.goto(`${base}/system`);
    const processes = page.getByRole("region", { name: "Processes" }).first();
    for (const name of ["API", "Gateway", "Credential proxy"]) {
      await until(`${name} is alive`, async () => (await processes.getByRole("row").filter({ hasText: name }).filter({ hasText: "Alive" }).count()) > 0, 30_000);
    }
    await page.getByText(/\d+ of \d+\s*slots/).first().waitFor({ timeout: 30_000 });
    const system = await get("/system");
    assert(!JSON.stringify(system.processes).match(/\b\d+\.\d+\.\d+\.\d+\b/), "an address is in it");
  });
}

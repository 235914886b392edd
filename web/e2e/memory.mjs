// Checks of the memory against a real api: what a person confirms of findings on
// the incident's page is listed, found, edited, set aside and forgotten.
import { accessibility, assert, check, narrow, shot, until, wide } from "./browser.mjs";

/** Runs them, and removes what they have added. */
export async function memoryChecks({ context, page, base }) {
  const api = async (path) => (await context.request.get(`${base}/api/v1${path}`)).json();
  const mark = `e2e${Date.now().toString(36)}`;
  const incident = (await api("/incidents?limit=200&investigation=concluded")).items[0];
  const section = () => page.getByRole("region", { name: "Findings" }).first();
  const kept = async () => (await api(`/memories?q=${mark}`)).items[0];

  await check("a person confirms findings, in their own words", async () => {
    await page.goto(`${base}/incidents/${incident.number}`);
    await section().getByRole("button", { name: "Remember this" }).click();
    const form = page.getByRole("form", { name: "Remember this" });
    const [found] = (await api(`/incidents/${incident.id}/findings`)).items;
    const cause = await form.getByLabel("What it was").inputValue();
    assert(cause === found.finding.root_cause, `the cause that is offered is ${cause}`);
    await form.getByLabel("How it shows").fill("");
    await form.getByText("Say how it shows.").waitFor();
    await form.getByLabel("How it shows").fill(`${mark} <script>alert(1)</script> is full`);
    await form.getByLabel("What ended it").fill("somebody\nremoved old logs");
    await shot(page, "remember-1440-light");
    await accessibility(page);
    await form.getByRole("button", { name: "Save" }).click();
    await section().getByText("Remembered by").waitFor();
    const memory = await kept();
    assert(memory.cause === cause && memory.run_id === found.run_id && memory.evidence.length > 0, JSON.stringify(memory));
    await section().getByRole("link", { name: "Look at it" }).click();
    await page.waitForURL(`**/memory?incident=${incident.number}`);
    await page.getByText(`${mark} <script>alert(1)</script> is full`).waitFor();
  });

  await check("what is remembered is found, edited and set aside", async () => {
    await page.goto(`${base}/memory`);
    await page.getByLabel("Words").fill(`no${mark}`);
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByText("Nothing that is remembered fits").waitFor();
    await page.getByLabel("Words").fill(mark);
    await page.getByRole("button", { name: "Search" }).click();
    await page.waitForURL(`**/memory?q=${mark}`);
    const list = page.getByRole("region", { name: "Memories" });
    await list.getByRole("button", { name: "Edit" }).click();
    await page.getByLabel("Only where alerts have these labels").fill("prod");
    await page.getByText("A label is of the form key:value.").waitFor();
    await page.getByLabel("Only where alerts have these labels").fill("cluster:prod");
    await page.getByLabel("Service").fill("");
    await page.getByRole("button", { name: "Save" }).click();
    await list.getByText("any service, with cluster:prod").waitFor();
    await list.getByText("edited by").waitFor();
    for (const [viewport, scheme] of [[wide, "light"], [narrow, "light"], [wide, "dark"], [narrow, "dark"]]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme: scheme });
      await shot(page, `memory-one-${viewport.width}-${scheme}`);
      await accessibility(page);
    }
    await page.setViewportSize(wide);
    await page.emulateMedia({ colorScheme: "light" });
    await list.getByRole("button", { name: "It holds no more" }).click();
    await list.getByText("Holds no more", { exact: true }).waitFor();
    assert((await kept()).stale, "it is not stale");
    await page.getByLabel("Which").selectOption("current");
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByText("Nothing that is remembered fits").waitFor();
    await page.goto(`${base}/memory?q=${mark}`);
    await list.getByRole("button", { name: "Remove" }).click();
    await list.getByRole("button", { name: "Really remove" }).click();
    await until("that it is forgotten", async () => (await kept()) === undefined);
    await page.getByText("Nothing that is remembered fits").waitFor();
  });

  await check("a rule is made, off and careful, and removed", async () => {
    await page.goto(`${base}/memory`);
    await page.getByRole("button", { name: "New rule" }).click();
    const form = page.getByRole("form", { name: "New rule" });
    await form.getByLabel("Name").fill(mark);
    await form.getByLabel("Confidence from, in percent").fill("20");
    assert(await form.getByRole("button", { name: "Save" }).isDisabled(), "a rule for guesses can be saved");
    await form.getByLabel("Confidence from, in percent").fill("95");
    await form.getByRole("button", { name: "Save" }).click();
    const rules = page.getByRole("region", { name: "Rules" }).first();
    await rules.getByText("Turned off").waitFor();
    await rules.getByText("From 95 % confidence, once a person has called them right").waitFor();
    await rules.getByRole("button", { name: `Remove ${mark}` }).click();
    await rules.getByRole("button", { name: `Really remove ${mark}` }).click();
    await rules.getByText(mark).waitFor({ state: "detached" });
  });
}

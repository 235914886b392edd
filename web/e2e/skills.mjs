// Checks of skills and runbooks against a real api: a runbook is written and
// edited, and its preview is only text; runbooks are searched; a skill comes as
// an archive, is turned off, edited and taken back to what it was.
import { accessibility, assert, check, shot, until } from "./browser.mjs";

/** What a text from elsewhere may try. */
const hostile = [
  "# Call <script>document.title = 'owned'</script> Ann",
  "",
  '<img src="x" onerror="document.title = \'owned\'"> <iframe src="https://elsewhere.invalid"></iframe>',
  "",
  "![a picture](https://elsewhere.invalid/p.png) [a link](javascript:alert(1)) [the wiki](https://wiki.invalid/queue)",
  "",
  "- one\n- two",
].join("\n");

/** Runs them, and removes what they have added. */
export async function skillChecks({ context, page, base }) {
  const url = (path) => `${base}/api/v1${path}`;
  const api = async (path) => (await context.request.get(url(path))).json();
  const mark = `e2e-${Date.now().toString(36)}`;
  const versions = page.getByRole("region", { name: "Versions" });

  await check("a runbook is written and edited, and its preview is only text", async () => {
    await page.goto(`${base}/runbooks`);
    await page.getByRole("button", { name: "New runbook" }).click();
    const made = page.getByRole("form", { name: "New runbook" });
    await made.getByLabel("Title").fill(`${mark} is long`);
    await made.getByLabel("What to do").fill("Call Bob.");
    await made.getByRole("button", { name: "Save" }).click();
    await page.waitForURL(`**/runbooks/${mark}-is-long`);
    const form = page.getByRole("form", { name: "Edit" });
    await form.getByLabel("Match labels").fill('service="queue"\nseverity=~"high|critical"');
    await form.getByLabel("What to do").fill(hostile);
    const preview = form.getByRole("region", { name: "Preview" });
    await preview.getByText("<script>").waitFor();
    await preview.getByRole("listitem").filter({ hasText: "two" }).waitFor();
    assert((await preview.locator("img, iframe, script, [onerror]").count()) === 0, await preview.innerHTML());
    const links = await preview.getByRole("link").evaluateAll((all) => all.map((a) => a.getAttribute("href")));
    assert(links.join() === "https://wiki.invalid/queue", `it links to ${links}`);
    await preview.getByText("[picture: a picture]").waitFor();
    await preview.getByText("(wiki.invalid)").waitFor();
    assert((await page.title()) !== "owned", "it ran");
    await shot(page, "runbook-edit-1440-light");
    await accessibility(page);
    await form.getByRole("button", { name: "Save as a new version" }).click();
    await form.getByText("Saved as version 2.").waitFor();
    const kept = await api(`/runbooks/${mark}-is-long`);
    assert(kept.text === hostile && kept.match.length === 2, JSON.stringify(kept));
    await versions.getByRole("button", { name: "Go back to version 1" }).click();
    await until("the first version", async () => (await form.getByLabel("What to do").inputValue()) === "Call Bob.");
    await page.getByRole("button", { name: "Remove" }).click();
    await page.getByRole("button", { name: "Really remove" }).click();
    await page.waitForURL("**/runbooks");
    await page.getByText(`${mark} is long`).waitFor({ state: "detached" });
    assert((await context.request.get(url(`/runbooks/${mark}-is-long`))).status() === 404, "it is still there");
  });

  await check("runbooks are searched by words of their titles and texts, and the address has the words", async () => {
    const stem = `word${Date.now().toString(36)}`;
    const written = [
      { title: `${stem} backlog`, text: "Count the waiting letters." },
      { title: `${stem} outage`, text: "Call Bob about the letters." },
    ];
    for (const body of written) {
      const made = await context.request.post(url("/runbooks"), { data: body });
      assert(made.ok(), `create: ${made.status()} ${await made.text()}`);
    }
    await page.goto(`${base}/runbooks`);
    const box = page.getByLabel("Search runbooks");
    const rows = (name) => page.getByRole("region", { name }).getByRole("listitem");
    const found = rows("Runbooks that have these words");
    await rows("All runbooks").filter({ hasText: `${stem} outage` }).waitFor();
    await box.fill(`${stem} letters`);
    await page.waitForURL(`**/runbooks?q=${stem}+letters`);
    await until("both", async () => (await found.count()) === 2);
    await box.fill(`letters ${stem} bob`); // in another order, and one of them only in a text
    await until("the one that has all the words", async () => (await found.count()) === 1);
    await found.getByText(`${stem} outage`).waitFor();
    await shot(page, "runbooks-found-1440-light");
    await page.reload();
    await found.getByText(`${stem} outage`).waitFor();
    assert((await box.inputValue()) === `letters ${stem} bob`, `after a reload the box has ${await box.inputValue()}`);
    await found.getByRole("link", { name: `${stem} outage` }).click();
    await page.getByRole("heading", { level: 1, name: `${stem} outage` }).waitFor();
    await page.goBack();
    await found.getByText(`${stem} outage`).waitFor();
    await box.fill(`${stem} nowhere`);
    await page.getByText("No runbook has all of these words").waitFor();
    await accessibility(page);
    await page.getByRole("link", { name: "Show all runbooks" }).click();
    await rows("All runbooks").filter({ hasText: `${stem} backlog` }).waitFor();
    assert((await box.inputValue()) === "", `the box still has ${await box.inputValue()}`);
    for (const { title } of written) assert((await context.request.delete(url(`/runbooks/${title.replace(" ", "-")}`))).ok(), `${title} was not removed`);
  });

  await check("a skill is uploaded as a zip, turned off, edited and taken back", async () => {
    const text = `---\nname: ${mark}\ndescription: About a queue.\n---\n# Queue\n\nLook at its length first.\n`;
    const made = await context.request.post(url("/skills"), { data: { files: [{ path: "SKILL.md", text }, { path: "scripts/a.sh", text: "echo a\n" }] } });
    assert(made.ok(), `create: ${made.status()} ${await made.text()}`);
    const buffer = await (await context.request.get(url(`/skills/${mark}/archive`))).body();
    assert((await context.request.delete(url(`/skills/${mark}`))).ok(), "it was not removed");

    await page.goto(`${base}/skills`);
    await page.getByRole("button", { name: "Upload" }).click();
    const upload = page.getByRole("form", { name: "Upload skills" });
    await upload.getByLabel("Archive").setInputFiles({ name: `${mark}.zip`, mimeType: "application/zip", buffer });
    await upload.getByRole("button", { name: "Upload" }).click();
    await upload.getByText("is version 1 now.").waitFor();
    await shot(page, "skill-uploaded-1440-light");
    await accessibility(page);
    const row = page.getByRole("region", { name: "All skills" }).getByRole("listitem").filter({ hasText: mark });
    await row.getByText("Imported").waitFor();
    await upload.getByRole("link", { name: mark }).click();
    await page.waitForURL(`**/skills/${mark}`);

    await page.getByLabel("Agents get it").click();
    await page.getByText("It is off: no agent reads it.").waitFor();
    assert((await api(`/skills/${mark}`)).enabled === false, "agents still get it");

    await page.getByRole("textbox", { name: "SKILL.md" }).fill(text.replace("length", "age"));
    await page.getByRole("region", { name: "Preview" }).getByText("Look at its age first.").waitFor();
    await page.getByLabel("What you changed").fill("age says more");
    await page.getByRole("button", { name: "Save as a new version" }).click();
    await page.getByText("Saved as version 2.").waitFor();
    await versions.getByText("age says more").waitFor();
    const now = await api(`/skills/${mark}`);
    assert(now.version === 2 && !now.enabled && now.contents.length === 2 && now.contents[0].text.includes("age first"), JSON.stringify(now));

    await versions.getByRole("button", { name: "Read version 1" }).click();
    await versions.getByText("Look at its length first.").waitFor();
    await shot(page, "skill-versions-1440-light");
    await accessibility(page);
    await versions.getByRole("button", { name: "Go back to version 1" }).click();
    await until("the first version", async () => (await page.getByRole("textbox", { name: "SKILL.md" }).inputValue()) === text);
    assert((await api(`/skills/${mark}`)).version === 1, "it is not the current one");
    await page.getByRole("button", { name: "scripts/a.sh", exact: true }).click();
    assert((await page.getByRole("textbox", { name: "scripts/a.sh" }).inputValue()) === "echo a\n", "its script is another");

    await page.getByRole("button", { name: `Remove ${mark}` }).click();
    await page.getByRole("button", { name: `Really remove ${mark}` }).click();
    await page.waitForURL("**/skills");
    assert((await context.request.get(url(`/skills/${mark}`))).status() === 404, "it is still there");
  });
}

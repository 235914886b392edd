// A host is enrolled on the page: its key is shown, compared and accepted; it is
// changed, and asked for its key again at another place; and credentials get another secret and are disabled; both are removed.
import { accessibility, assert, check, narrow, shot, until, wide } from "./browser.mjs";

export async function hostChecks({ context, page, watched, base }) {
  const call = async (method, path, data) => {
    const answer = await context.request.fetch(`${base}/api/v1${path}`, { method, headers: { "Content-Type": "application/json" }, data });
    assert(answer.ok(), `${method} ${path}: ${answer.status()} ${await answer.text()}`);
    return answer.json();
  };
  const mark = `host-${Date.now().toString(36)}`;

  await check("a host without a pinned key is enrolled, and another key than the pinned one is shown as such", async () => {
    const demo = (await call("GET", "/targets")).items.find((t) => t.kind === "ssh" && t.host_keys.length === 1);
    const like = { kind: "ssh", address: demo.address, port: demo.port, user: demo.user, credential: demo.credential };
    await call("POST", "/targets", { ...like, name: mark });
    const other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    await call("POST", "/targets", { ...like, name: `${mark}-moved`, host_key: other });

    await page.goto(`${base}/targets`);
    await page.getByRole("button", { name: `Check the connection to ${mark}`, exact: true }).click();
    const panel = page.getByRole("region", { name: `Connection to ${mark}` });
    await panel.getByRole("button", { name: "Ask the host for its keys" }).click();
    await panel.getByText("These keys are not trusted yet.").waitFor();
    await panel.getByText(demo.host_keys[0].fingerprint).waitFor();
    await shot(page, "host-key-new-1440-light");
    await panel.getByRole("button", { name: "Accept this key" }).click();
    const before = (await call("GET", "/targets")).items.find((t) => t.name === mark);
    assert(before.host_keys.length === 0, "one press pinned a key");
    await panel.getByRole("button", { name: "I have compared it: pin this key" }).click();
    await panel.getByText("The host has proved what is pinned.").waitFor();
    const after = (await call("GET", "/targets")).items.find((t) => t.name === mark);
    assert(after.host_key === demo.host_key, "another key was pinned than the host's");
    await panel.getByRole("button", { name: "Close" }).click();

    await page.getByRole("button", { name: `Check the connection to ${mark}-moved` }).click();
    await page.getByRole("button", { name: "Ask the host for its keys" }).click();
    await page.getByRole("alert").getByText("The host has another key than the pinned one.").waitFor();
    await page.getByText(demo.host_keys[0].fingerprint).waitFor();
    await shot(page, "host-key-changed-1440-light");
    await accessibility(page);
    await page.setViewportSize(narrow);
    const low = await page.locator("section[aria-label^='Connection to'] button").evaluateAll((all) => all.filter((b) => b.getBoundingClientRect().height < 44).map((b) => b.textContent));
    assert(low.length === 0, `lower than 44 px: ${low}`);
    assert((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "too wide");
    await shot(page, "host-key-changed-390-light");
    await page.setViewportSize(wide);
    const kept = (await call("GET", "/targets")).items.find((t) => t.name === `${mark}-moved`);
    assert(kept.host_key === other, "a look changed what is pinned");
  });

  await check("a host is changed, and at another place nothing is pinned", async () => {
    const mine = async () => (await call("GET", "/targets")).items.find((t) => t.name === mark);
    const before = await mine();
    await page.goto(`${base}/targets`);
    const form = page.getByRole("form", { name: `Change ${mark}` });
    await page.getByRole("button", { name: `Change ${mark}`, exact: true }).click();
    assert((await form.getByLabel("Address").inputValue()) === before.address, "the form does not show what is");
    await shot(page, "host-change-1440-light");
    await accessibility(page);
    await form.getByLabel("User").fill("somebody");
    await form.getByRole("button", { name: "Save" }).click();
    await form.waitFor({ state: "detached" });
    const renamed = await mine();
    assert(renamed.user === "somebody" && renamed.credential === before.credential && renamed.host_key === before.host_key && renamed.port === before.port, JSON.stringify(renamed));

    await page.getByRole("button", { name: `Change ${mark}`, exact: true }).click();
    await form.getByLabel("Through").selectOption(`${mark}-moved`);
    await form.getByLabel("SSH port").fill("2");
    await form.getByRole("button", { name: "Save" }).click();
    await page.getByRole("region", { name: `Connection to ${mark}` }).waitFor(); // to be asked for its key
    const moved = await mine();
    assert(moved.port === 2 && moved.jump === `${mark}-moved` && moved.host_keys.length === 0, JSON.stringify(moved));

    watched.expect.push(/status of 422.*targets/);
    await page.getByRole("button", { name: `Change ${mark}-moved`, exact: true }).click();
    const other = page.getByRole("form", { name: `Change ${mark}-moved` });
    await other.getByLabel("Through").selectOption(mark);
    await other.getByRole("button", { name: "Save" }).click();
    await other.getByRole("alert").getByText("leads back").waitFor();
    await shot(page, "host-change-refused-1440-light");
    await accessibility(page);
    await page.setViewportSize(narrow);
    assert((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, "too wide");
    await shot(page, "host-change-390-light");
    await page.setViewportSize(wide);
    await other.getByRole("button", { name: "Cancel" }).click();
    await other.waitFor({ state: "detached" });
  });

  await check("a credential gets another secret, and is disabled by a second press", async () => {
    await call("POST", "/credentials", { name: mark, kind: "ssh_password", secret: "only a test", targets: [mark] });
    await page.goto(`${base}/credentials`);
    await page.getByRole("button", { name: `Change ${mark}`, exact: true }).click();
    await page.getByRole("textbox", { name: "Password" }).fill("another test");
    await page.getByRole("button", { name: "Replace the secret" }).click();
    const mine = async () => (await call("GET", "/credentials")).items.find((c) => c.name === mark);
    await until("the next version", async () => (await mine()).version === 2);
    await page.getByRole("button", { name: `Change ${mark}`, exact: true }).click();
    await page.getByRole("button", { name: "Disable", exact: true }).click();
    await accessibility(page);
    assert(!(await mine()).disabled_at, "one press disabled it");
    await page.getByRole("button", { name: "Disable it: what runs with it stops" }).click();
    await page.getByText("Disabled", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Enable it again" }).click();
    await until("the end of it", async () => !(await mine()).disabled_at);
  });

  await check("a target and a credential are removed by a second press, and what is in use says by whom", async () => {
    const named = async (path, name) => (await call("GET", path)).items.find((t) => t.name === name);
    const demo = await named("/targets", mark);
    await page.goto(`${base}/credentials`);
    await page.getByRole("button", { name: `Remove ${demo.credential}`, exact: true }).click();
    watched.expect.push(/status of 409.*credentials/);
    await page.getByRole("button", { name: `Really remove ${demo.credential}`, exact: true }).click();
    await page.getByRole("alert").getByText("is in use").waitFor();
    await accessibility(page);
    await shot(page, "credential-in-use-1440-light");
    await page.getByRole("button", { name: `Remove ${mark}`, exact: true }).click();
    assert(await named("/credentials", mark), "one press removed it");
    await page.getByRole("button", { name: `Really remove ${mark}`, exact: true }).click();
    await until("the credential to be gone", async () => !(await named("/credentials", mark)));
    await page.goto(`${base}/targets`);
    for (const name of [mark, `${mark}-moved`]) {
      await page.getByRole("button", { name: `Remove ${name}`, exact: true }).click();
      await page.getByRole("button", { name: `Really remove ${name}`, exact: true }).click();
      await page.getByRole("button", { name: `Check the connection to ${name}`, exact: true }).waitFor({ state: "detached" });
    }
    await shot(page, "targets-removed-1440-light");
    assert(!(await named("/targets", mark)), "it is still there");
  });
}

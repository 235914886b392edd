// The list of incidents: views that are kept, and the same done to several.
import { accessibility, assert, check, shot, until } from "./browser.mjs";

export async function listChecks({ context, page, watched, base }) {
  const api = async (path) => (await context.request.get(`${base}/api/v1${path}`)).json();
  const post = (path, data = {}) => context.request.post(`${base}/api/v1${path}`, { data });
  const mark = `bulk${Date.now().toString(36)}`;
  const filter = `${base}/incidents?q=${mark}`;
  const made = [];

  await check("a filter is kept as a view, shared, replaced and removed", async () => {
    for (let n = 1; n <= 4; n++) made.push(await (await post("/incidents", { title: `${mark} number ${n}` })).json());
    await until("the search to find them", async () => (await api(`/incidents?q=${mark}`)).items.length === 4);
    await page.goto(filter);
    await page.locator("a[data-index]").nth(3).waitFor();
    const button = page.getByRole("button", { name: "Views", exact: true });
    await button.click();
    await page.getByLabel("Keep what is shown as").fill(mark);
    await page.getByLabel("Others see it, too").check();
    await shot(page, "views-1440-light", { full: false });
    await accessibility(page);
    await page.getByRole("button", { name: "Keep", exact: true }).click();
    const named = page.getByRole("button", { name: mark, exact: true });
    await named.waitFor(); // the present filter has the view's name
    const [kept] = (await api("/views")).items.filter((v) => v.name === mark);
    assert(kept.shared && kept.filter.q === mark, JSON.stringify(kept));

    await page.goto(`${base}/incidents?status=triggered`);
    await button.click();
    await page.getByRole("link", { name: `${mark} shared` }).click();
    await page.waitForURL(filter);
    await page.goto(`${base}/incidents?status=triggered&q=${mark}`);
    await button.click();
    await page.getByLabel("Keep what is shown as").fill(mark);
    await page.getByRole("button", { name: "Replace the view of that name" }).click();
    await named.waitFor();
    await named.click();
    await page.getByRole("button", { name: `Remove ${mark}` }).click();
    await page.getByRole("button", { name: `Really remove ${mark}` }).click();
    await until("it is gone", async () => !(await api("/views")).items.some((v) => v.name === mark));
    await page.keyboard.press("Escape");
    await page.getByLabel("Keep what is shown as").waitFor({ state: "detached" });
  });

  await check("several are acknowledged, assigned and closed at once, by keyboard and by hand", async () => {
    await page.goto(filter);
    await page.locator("a[data-index]").nth(3).waitFor();
    const chosen = page.getByRole("region", { name: "Chosen incidents" });
    await page.keyboard.press("j");
    await page.keyboard.press("x");
    await chosen.getByText("1 chosen").waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("Shift+X");
    await chosen.getByText("3 chosen").waitFor();
    await page.keyboard.press("x");
    await chosen.getByText("2 chosen").waitFor();
    await page.keyboard.press("a");
    await chosen.getByText("2 acknowledged.").waitFor();
    const status = async () => (await api(`/incidents?q=${mark}`)).items.map((i) => i.status).join(" ");
    assert((await status()) === "acknowledged acknowledged triggered triggered", await status());

    // One of them is closed meanwhile: that is said, and it stays chosen.
    const boxes = page.locator("[data-row] input[type=checkbox]");
    await page.keyboard.press("Escape");
    await boxes.nth(0).click();
    await boxes.nth(3).click({ modifiers: ["Shift"] });
    await chosen.getByText("4 chosen").waitFor();
    await post(`/incidents/${made[0].id}/close`);
    await chosen.getByRole("button", { name: "Resolve" }).click();
    await shot(page, "bulk-1440-light", { full: false });
    await chosen.getByRole("button", { name: "Really resolve 4" }).click();
    await chosen.getByText("3 resolved.").waitFor();
    await chosen.getByText("1 not resolved:").waitFor();
    await chosen.getByText("the incident is closed").waitFor();
    await chosen.getByText("1 chosen").waitFor();
    await accessibility(page);
    await shot(page, "bulk-partly-1440-light", { full: false });

    await chosen.getByRole("button", { name: "All that are loaded" }).click();
    await chosen.getByRole("button", { name: "Assign", exact: true }).click();
    await chosen.getByRole("button", { name: "To me" }).click();
    await chosen.getByText("4 assigned.").waitFor();
    const me = (await api("/auth/session")).user.username;
    assert((await api(`/incidents?q=${mark}&assignee=${me}`)).items.length === 4, "they are not assigned");
    await page.keyboard.press("Escape");
    await page.goto(`${filter}&assignee=${me}`);
    await page.locator("a[data-index]").nth(3).waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("X");
    await chosen.getByText("1 chosen").waitFor();
    await page.keyboard.press("Escape");
    await chosen.waitFor({ state: "detached" });
    assert(watched.wrong.length === 0, watched.wrong.join("\n"));
  });
}

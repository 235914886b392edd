// A viewer sees the product and can do nothing to it: every page is opened, and
// all that can be pressed on it is.
import { assert, check, reportViolations, until, wide } from "./browser.mjs";

/** Presses that are about the viewer alone, who has an account of their own. */
const own = ["/account", "/tokens"];

export async function viewerChecks({ browser, context, base, pages }) {
  await check("a viewer finds nothing on any page that the api refuses, nor anything that changes something", async () => {
    const name = `viewer-${Date.now().toString(36)}`;
    const { link } = await (await context.request.post(`${base}/api/v1/users`, { data: { username: name, roles: ["viewer"] } })).json();
    const guest = await browser.newContext({ viewport: wide });
    await reportViolations(guest);
    const made = await guest.request.post(`${base}/api/v1/auth/accept`, { data: { token: link.split("token=")[1], password: "correct horse battery" } });
    assert(made.ok(), `accept: ${made.status()}`);
    const page = await guest.newPage();
    page.setDefaultTimeout(10_000);
    const wrong = [];
    let where = "";
    page.on("response", (r) => {
      if (r.status() === 403) wrong.push(`${where}: ${r.request().method()} ${new URL(r.url()).pathname} is refused`);
    });
    page.on("request", (r) => {
      const path = new URL(r.url()).pathname;
      if (r.method() !== "GET" && !own.includes(where) && !path.endsWith("/policy/explain")) wrong.push(`${where}: ${r.method()} ${path} is asked for`);
    });
    page.on("pageerror", (e) => wrong.push(`${where}: ${e.message}`));
    let pressed = 0;
    for (const [, to] of pages) {
      where = typeof to === "function" ? to() : to;
      await page.goto(base + where);
      await page.locator("main h1, main h2").first().waitFor();
      await until("the end of loading", async () => (await page.getByRole("status", { name: "Loading" }).count()) === 0);
      for (const key of ["a", "i", "y", "y", "n", "n", "x", "j", "x", "a"]) await page.keyboard.press(key);
      if (new URL(page.url()).pathname !== where) await page.goto(base + where);
      if (own.includes(where)) continue;
      const buttons = page.locator("main button:enabled:visible");
      for (let n = 0; n < Math.min(await buttons.count(), 40); n++) {
        // What a press has taken away or covered is not pressed.
        if (await buttons.nth(n).click({ timeout: 500 }).then(() => true, () => false)) pressed++;
        if (new URL(page.url()).pathname !== where) await page.goto(base + where);
      }
    }
    await guest.close();
    assert(wrong.length === 0, [...new Set(wrong)].join("\n"));
    assert(pressed > 5, `only ${pressed} buttons were there to press`);
    console.log(`      ${pages.length} pages, ${pressed} presses`);
  });
}

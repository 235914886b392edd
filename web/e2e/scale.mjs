// The page with 100,000 incidents, which .ci/with-dev has made up: the list, how
// it scrolls, search, and what the first page takes on a slow machine.
//   BASE_URL, ADMIN_USER, ADMIN_PASSWORD, SHOTS   as for run.mjs
//
// What is asserted is what is promised: rows within 1 s, an answer within 300 ms
// of the last key, no task of the page above 100 ms while it scrolls, a largest
// paint within 1.5 s on a CPU four times slower. Each figure is the middle of
// several; of the paints it is the least, as all that others do on the machine is
// added four times. A series that is too slow is taken again, twice at most: a
// machine may be busy for a while, but what has become slow stays slow.
import { assert, check, launch, report, reportViolations, shot, until, watch, wide } from "./browser.mjs";
import { bare } from "./bare.mjs";

const base = process.env.BASE_URL;
const browser = await launch();
const context = await browser.newContext({ viewport: wide });
await reportViolations(context);
// Long tasks (50 ms and more) since the last reset.
await context.addInitScript(() => {
  globalThis.long = [];
  new PerformanceObserver((list) => globalThis.long.push(...list.getEntries().map((e) => Math.round(e.duration)))).observe({ type: "longtask", buffered: true });
});
const page = await context.newPage();
page.setDefaultTimeout(20_000);
const watched = watch(page, base);
const login = await context.request.post(`${base}/api/v1/auth/login`, { data: { username: process.env.ADMIN_USER, password: process.env.ADMIN_PASSWORD } });
if (!login.ok()) throw new Error(`login: ${login.status()}`);

const middle = (sorted) => sorted[Math.floor(sorted.length / 2)];
const least = (sorted) => sorted[0];

/** Measures several times, says what came of it, and fails if what counts of it is never what is wanted. */
async function figure(what, wanted, measure, { times = 3, counts = middle } = {}) {
  for (let series = 1; ; series++) {
    const all = [];
    for (let i = 0; i < times; i++) all.push(Math.round(await measure()));
    const value = counts(all.toSorted((a, b) => a - b));
    console.log(`      ${what}: ${value} ms, of ${all.join(", ")} (wanted: below ${wanted})`);
    if (value < wanted) return;
    assert(series < 3, `${what}: ${value} ms, and ${wanted} are wanted`);
  }
}

/** In the page: when rows are there, to the frame. With what is clicked first, and with words that each row has. */
const rowsAfter = (act, has = "") =>
  page.evaluate(
    async ([act, has]) => {
      const began = performance.now();
      document.querySelector(act)?.click();
      for (;;) {
        const rows = [...document.querySelectorAll("a[data-index]")];
        if (rows.length > 10 && rows.every((r) => r.textContent.includes(has))) return performance.now() - began;
        if (performance.now() - began > 15_000) throw new Error("no rows in 15 s");
        await new Promise(requestAnimationFrame);
      }
    },
    [act, has],
  );

await check("there are 100,000 incidents, and the list of them is usable in a second", async () => {
  const { items } = await (await context.request.get(`${base}/api/v1/incidents?limit=1`)).json();
  assert(items[0].number >= 100_000, `there are ${items[0].number}`);
  await figure("from nothing to the first rows", 1_000, async () => {
    await page.goto("about:blank");
    const began = Date.now();
    await page.goto(`${base}/incidents`, { waitUntil: "commit" });
    await rowsAfter("#none");
    return Date.now() - began;
  });
  await figure("from another page to the first rows", 1_000, async () => {
    await page.goto(`${base}/sources`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    return rowsAfter('nav a[href="/incidents"]');
  });
  await shot(page, "scale-1440-light", { full: false });
});

await check("it scrolls through thousands of rows without jank", async () => {
  await figure("the longest task of 5 s of scrolling", 100, async () => {
    await page.goto(`${base}/incidents`);
    await page.locator("a[data-index]").first().waitFor();
    await until("a page at rest", () => page.evaluate(() => new Promise((idle) => requestIdleCallback(() => idle(true)))));
    await page.evaluate(() => (globalThis.long.length = 0));
    const frames = await page.evaluate(async () => {
      const times = [];
      const end = performance.now() + 5_000;
      let then = performance.now();
      while (performance.now() < end) {
        scrollBy(0, 400);
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - then);
        then = performance.now();
      }
      return times.sort((a, b) => a - b);
    });
    const long = await page.evaluate(() => globalThis.long);
    const reached = await page.locator("a[data-index]").evaluateAll((all) => Math.max(...all.map((a) => Number(a.dataset.index))));
    const drawn = await page.locator("a[data-index]").count();
    const slow = frames[Math.floor(frames.length * 0.95)];
    console.log(`      ${frames.length} frames to row ${reached}, of which ${drawn} drawn; 95 of 100 within ${Math.round(slow)} ms; ${long.length} tasks above 50 ms`);
    assert(reached > 300, `only row ${reached} was reached`);
    assert(drawn < 120, `${drawn} rows are drawn at once`);
    return Math.max(0, ...long);
  });
});

await check("a search answers while one looks at it", async () => {
  const search = page.getByLabel("Search incidents");
  for (const [words, has] of [["ReplicationLag", "ReplicationLag"], ["checkout latency", ""], ["BackupMissing prod", "BackupMissing"]]) {
    await figure(`"${words}": from the last key to the rows`, 300, async () => {
      // A page of its own each time, which remembers no answer.
      await page.goto(`${base}/incidents?q=${encodeURIComponent(words.slice(0, -1))}`);
      await page.locator("a[data-index]").first().waitFor();
      await search.press("End");
      // From the key to the frame with rows of the answer, by the page's own clock.
      const answered = page.waitForResponse((r) => r.url().includes("/incidents?") && new URL(r.url()).searchParams.get("q") === words);
      const typed = page.evaluate(() => new Promise((at) => addEventListener("keydown", (e) => at(e.timeStamp), { once: true, capture: true })));
      await search.press(words.slice(-1));
      await answered;
      await rowsAfter("#none", has);
      return (await page.evaluate(() => performance.now())) - (await typed);
    });
    const asked = await page.evaluate(() => performance.getEntriesByType("resource").findLast((e) => e.name.includes("/incidents?"))?.duration);
    console.log(`      of which the api with its way: ${Math.round(asked)} ms`);
  }
});

/** In a page: when its rows or its heading are there, the largest paint so far, in ms since it was gone to. */
async function largestPaint(selector) {
  while (document.querySelector(selector) === null) {
    if (performance.now() > 20_000) throw new Error(`no ${selector} in 20 s`);
    await new Promise(requestAnimationFrame);
  }
  // A paint is known a moment after it, and a larger one may follow.
  let largest = 0;
  const seen = new PerformanceObserver((list) => (largest = list.getEntries().at(-1).startTime));
  seen.observe({ type: "largest-contentful-paint", buffered: true });
  const settled = performance.now() + 1_500;
  while (largest === 0 || performance.now() < settled) {
    if (performance.now() > 20_000) throw new Error("no largest paint in 20 s");
    await new Promise(requestAnimationFrame);
  }
  return largest;
}

await check("the largest paint on a CPU four times slower", async () => {
  for (const [path, selector] of [["/incidents", "a[data-index]"], ["/", "main section"], ["/account", "h1"]]) {
    const visitor = await bare(browser, context);
    // A browser that has never been here has nothing of the page.
    await figure(`LCP of ${path}, never seen before`, 1_500, async () => {
      const stranger = await bare(browser, context);
      const at = await stranger.visit(base + path, 4, largestPaint, selector);
      await stranger.close();
      return at;
    }, { counts: least });
    await figure(`LCP of ${path}, seen before`, 1_500, () => visitor.visit(base + path, 4, largestPaint, selector), { times: 5, counts: least });
    await visitor.close();
  }
});

await check("nothing went wrong meanwhile", () => assert(watched.wrong.length === 0, watched.wrong.join("\n")));

await browser.close();
report();

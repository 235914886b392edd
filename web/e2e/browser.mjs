// What the browser tests share: Chromium, a page that is watched, and checks
// that are counted.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export const wide = { width: 1440, height: 900 };
export const narrow = { width: 390, height: 844 };

let passed = 0;
let failed = 0;

/** Runs one named check; a failure is reported and the next check goes on. */
export async function check(name, run) {
  const started = Date.now();
  try {
    await run();
    passed++;
    console.log(`ok    ${name} (${Date.now() - started} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}\n      ${String(error?.message ?? error).replaceAll("\n", "\n      ")}`);
  }
}

/** Prints the count and sets the exit code. */
export function report() {
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}

export function assert(condition, message) {
  if (!condition) throw new Error(message);
}

/**
 * Collects what a page must not do: errors on the console, violations of the
 * policy, uncaught errors, requests to elsewhere. A refused session and requests
 * made while the network is off are the two kinds of failure that are expected.
 */
export function watch(page, base) {
  const wrong = [];
  const state = { wrong, offline: false, expect: [] };
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    const where = message.location().url;
    const text = message.text();
    if (/status of 401/.test(text) && where.endsWith("/auth/session")) return;
    if (/ERR_INTERNET_DISCONNECTED|ERR_NETWORK_CHANGED/.test(text)) return;
    if (state.expect.some((pattern) => pattern.test(`${text} ${where}`))) return;
    wrong.push(`${message.type()}: ${text} ${where}`);
  });
  page.on("pageerror", (error) => wrong.push(`uncaught: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith("data:") && !url.startsWith("blob:")) wrong.push(`request to ${url}`);
  });
  return state;
}

/** Makes violations of the policy visible even where the console would not show them. */
export async function reportViolations(context) {
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (e) => {
      console.error(`policy violated: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`);
    });
  });
}

export async function shot(page, name, { full = true } = {}) {
  const folder = process.env.SHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: full, animations: "disabled" });
}

/** Nothing is wider than the page, and on a phone no button is too small for a finger. */
export async function fits(page, name) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert(over <= 0, `${name} is ${over} px too wide`);
  if (page.viewportSize().width > narrow.width) return;
  const small = await page.evaluate(() =>
    [...document.querySelectorAll("button:not(.mantine-ActionIcon-root)")] // of those more takes a press than is seen
      .map((b) => ({ box: b.getBoundingClientRect(), shown: b.checkVisibility(), name: b.ariaLabel ?? b.innerText }))
      .filter((b) => b.shown && b.box.right > 0 && (b.box.height < 43.5 || b.box.width < 43.5))
      .map((b) => `${b.name} (${Math.round(b.box.width)} × ${Math.round(b.box.height)})`),
  );
  assert(small.length === 0, `${name} has buttons that are too small for a finger: ${[...new Set(small)].join(", ")}`);
}

/** Waits until a function, called in the page or here, gives something true. */
export async function until(what, run, ms = 10_000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await run();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not in ${ms} ms: ${what}`);
    await new Promise((next) => setTimeout(next, 50));
  }
}

/** Serious problems of accessibility, as axe finds them. */
export async function accessibility(page) {
  const { source } = (await import("axe-core")).default;
  // Run as a debugger would, which the page's policy does not concern.
  await page.evaluate(source);
  const found = await page.evaluate(async () => {
    const result = await globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] });
    return result.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.failureSummary?.split("\n").at(-1) ?? ""}`).join(" | ")}`);
  });
  assert(found.length === 0, found.join("\n"));
}

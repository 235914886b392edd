// node shot.mjs URL OUT.png [WIDTHxHEIGHT]: one screenshot, for browser.sh,
// whose head describes the variables SHOT_*.
import fs from 'node:fs';
import { open } from './browser-lib.mjs';

const [url, out, size = '1280x800'] = process.argv.slice(2);
const [width, height] = size.split('x').map(Number);
const { SHOT_HEADER, SHOT_COOKIE, SHOT_WAIT, SHOT_DELAY, SHOT_FULL } = process.env;

// "name: value" or "name=value" to its two halves
const halves = (text, sign) => {
  const at = text.indexOf(sign);
  return [text.slice(0, at), text.slice(at + 1).trimStart()];
};

const options = { width, height };
if (SHOT_HEADER) options.extraHTTPHeaders = Object.fromEntries([halves(SHOT_HEADER, ':')]);
const { context, page, close } = await open(options);
try {
  if (SHOT_COOKIE) {
    const [name, value] = halves(SHOT_COOKIE, '=');
    await context.addCookies([{ name, value, url: new URL(url).origin }]);
  }
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));

  const response = await page.goto(url, { waitUntil: 'load', timeout: 30000 });
  if (SHOT_WAIT) await page.waitForSelector(SHOT_WAIT, { timeout: 15000 });
  if (SHOT_DELAY) await page.waitForTimeout(Number(SHOT_DELAY));
  await page.screenshot({ path: out, fullPage: SHOT_FULL === '1' });

  console.log(`SHOT=${out}`);
  console.log(`SHOT_STATUS=${response?.status() ?? 0}`);
  console.log(`SHOT_TITLE=${(await page.title()).replace(/\s+/g, ' ')}`);
  console.log(`SHOT_BYTES=${fs.statSync(out).size}`);
  console.log(`SHOT_BROWSER=${context.browser()?.version()}`);
  console.log(`SHOT_PAGE_ERRORS=${errors.length}`);
  for (const error of errors) console.error(`page: ${error}`);
} catch (error) {
  console.error(String(error).split('\n')[0]);
  process.exitCode = 1;
} finally {
  await close();
}

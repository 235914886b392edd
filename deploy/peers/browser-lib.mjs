// open(): a fresh Chromium with a profile of its own. close() ends it and
// removes the profile. browser.sh copies this file beside its node_modules.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const { chromium } = createRequire(path.join(here, 'package.json'))('playwright-core');

export async function open({ width = 1280, height = 800, ...more } = {}) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'peers-chromium-'));
  const flags = JSON.parse(fs.readFileSync(path.join(here, 'flags.json'), 'utf8'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false,
    args: flags.filter((flag) => flag !== '--headless'), // playwright sets its own
    viewport: { width, height },
    acceptDownloads: false,
    ...more,
  });
  const page = context.pages()[0] ?? (await context.newPage());
  const close = async () => {
    await context.close();
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return { context, page, close };
}

// What the first page costs to load, of what was built: at most 350 kB gzip, and
// each page a chunk of its own.   node e2e/budget.mjs
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const most = 350 * 1000;
const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const router = readFileSync(fileURLToPath(new URL("../src/router.tsx", import.meta.url)), "utf8");

/** A file and those that it imports when it is loaded; import() is not among them. */
function loaded(name, into = new Set()) {
  if (into.has(name)) return into;
  into.add(name);
  if (name.endsWith(".js")) {
    for (const [, other] of readFileSync(`${dist}${name}`, "utf8").matchAll(/(?:from|import)\s*["']\.\/([\w.-]+\.js)["']/g)) loaded(`assets/${other}`, into);
  }
  return into;
}

const files = readdirSync(`${dist}assets`).map((name) => `assets/${name}`);
const html = readFileSync(`${dist}index.html`, "utf8");
const entry = new Set();
for (const [, name] of html.matchAll(/(?:src|href)="\/(assets\/[\w.-]+\.(?:js|css))"/g)) loaded(name, entry);

const pages = new Map();
for (const [, path] of router.matchAll(/lazyRouteComponent\(\(\) => import\("\.\/([\w/]+)"\)/g)) {
  const base = path.split("/").pop();
  pages.set(path, files.filter((f) => new RegExp(`^assets/${base}-[\\w-]{8}\\.(js|css)$`).test(f)));
}
const kept = [...pages].filter(([, chunks]) => chunks.length === 0 || chunks.some((c) => entry.has(c))).map(([path]) => path);
if (pages.size < 15 || kept.length > 0) {
  console.error(`${pages.size} pages are known; these are no chunks of their own: ${kept.join(", ")}`);
  process.exit(1);
}

const size = (all) => [...all].reduce((sum, name) => sum + gzipSync(readFileSync(`${dist}${name}`), { level: 9 }).length, 0);
const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
let worst = 0;
for (const [path, chunks] of pages) {
  const all = new Set(entry);
  for (const c of chunks) loaded(c, all);
  const whole = size(all) + gzipSync(html).length;
  worst = Math.max(worst, whole);
  if (whole > most) console.error(`${path}: ${kB(whole)} gzip on a first load, of which ${kB(size(entry))} are every page's; ${kB(most)} is the most`);
}
console.log(`first load: ${kB(size(entry))} gzip of every page, ${kB(worst)} with the largest of ${pages.size}; ${kB(most)} is the most`);
process.exit(worst > most ? 1 : 0);

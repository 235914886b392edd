import type { Process, System } from "../api/types";

/** The processes that every deployment has. */
const kinds: { kind: string; name: string; without: string }[] = [
  { kind: "api", name: "API", without: "No api says that it lives." },
  { kind: "gateway", name: "Gateway", without: "No gateway is alive: agents can use no tool." },
  { kind: "proxy", name: "Credential proxy", without: "No credential proxy is alive: agents can ask no model." },
];

/** Every kind with its processes, those that live first. */
export function kindsOf(s: Pick<System, "processes">): { kind: string; name: string; processes: Process[] }[] {
  return kinds.map(({ kind, name }) => ({
    kind,
    name,
    processes: s.processes.filter((p) => p.kind === kind).sort((a, b) => Number(b.alive) - Number(a.alive) || a.started_at.localeCompare(b.started_at)),
  }));
}

/** What is wrong, the worst first; none if nothing is. */
export function verdict(s: System): string[] {
  const alive = s.processes.filter((p) => p.alive);
  const wrong = kinds.filter((k) => !alive.some((p) => p.kind === k.kind)).map((k) => k.without);
  if (!alive.some((p) => (p.workers ?? []).length > 0)) wrong.push("No worker is connected: investigations wait.");
  const versions = new Set(alive.flatMap((p) => [p.version, ...(p.workers ?? []).map((w) => w.build ?? p.version)]));
  if (versions.size > 1) wrong.push(`The processes have different versions: ${[...versions].sort().join(", ")}.`);
  const failing = s.chores.filter((c) => c.failing).map((c) => c.name);
  if (failing.length > 0) wrong.push(`What fails by itself: ${failing.join(", ")}.`);
  const waiting = s.oldest_queued_at ? Date.parse(s.at) - Date.parse(s.oldest_queued_at) : 0;
  if (waiting > 10 * 60_000) wrong.push(`The oldest investigation has waited for a worker for ${Math.floor(waiting / 60_000)} minutes.`);
  const letters = s.dead_letters.reduce((n, l) => n + l.count, 0);
  if (letters > 0) wrong.push(`${letters.toLocaleString("en")} deliveries could not be read.`);
  return wrong;
}

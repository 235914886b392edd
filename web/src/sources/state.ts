import type { Body, Source } from "../api/types";
import { clock, isTime } from "../text/time";

/** What one must know about a source at a glance. Each has its word, shape and colour in StateMark. */
export type SourceState = "off" | "setup" | "errors" | "silent" | "receiving" | "quiet" | "new";

const hour = 3_600_000;
const day = 24 * hour;

/** The worst that is true of a source now. An error counts for an hour, unless it goes on. */
export function sourceState(source: Pick<Source, "enabled" | "verify_until" | "options" | "health" | "created_at">, now: number): SourceState {
  const { health: h, options } = source;
  if (!source.enabled) return "off";
  if (isTime(source.verify_until) && Date.parse(source.verify_until) > now) return "setup";
  const failing = (h.errors ?? []).some((e) => now - Date.parse(e.at) < hour) || h.rejected_since > 0;
  if (failing) return "errors";
  const last = isTime(h.last_delivery_at) ? Date.parse(h.last_delivery_at) : undefined;
  const limit = (options.silent_after_seconds ?? 0) * 1000;
  if (limit > 0 && now - (last ?? Date.parse(source.created_at)) > limit) return "silent";
  if (last === undefined) return "new";
  return now - last < day ? "receiving" : "quiet";
}

type ErrorKind = Body<"SourceError">["kind"];

const errorWords: Record<ErrorKind, string> = {
  unparsable: "Could not be read",
  unauthenticated: "Wrong or missing secret, refused",
  signature: "Wrong or missing signature, refused",
  unproven: "Not proven, kept in set-up mode",
  truncated: "The sender left alerts out",
  database: "Could not be stored",
  overload: "Too many at once, told to come again",
  too_large: "Too large, refused",
};

/** What a kind of error means to whoever set the sender up. */
export function errorWord(kind: string): string {
  return errorWords[kind as ErrorKind] ?? kind;
}

const stepWords: Record<Body<"TestStep">["name"], string> = {
  send: "Made",
  authenticate: "Proved itself",
  parse: "Read",
  store: "Stored",
  incident: "Incident",
  investigate: "Investigation",
  resolve: "Its end",
};

export function stepWord(name: string): string {
  return stepWords[name as Body<"TestStep">["name"]] ?? name;
}

type Rate = Body<"SourceRate">;

/** What a chart of rates shows, in words. */
export function describeRates(rates: readonly Rate[], unit: "minute" | "hour"): string {
  const sum = (of: (r: Rate) => number) => rates.reduce((n, r) => n + of(r), 0);
  const deliveries = sum((r) => r.deliveries);
  const errors = sum((r) => r.errors);
  const span = unit === "minute" ? `the last ${rates.length} minutes` : `the last ${rates.length} hours`;
  const said = [`${counted(deliveries, "delivery", "deliveries")} in ${span}`];
  const top = rates.reduce<Rate | undefined>((best, r) => (r.deliveries > (best?.deliveries ?? 0) ? r : best), undefined);
  if (top) said.push(`at most ${top.deliveries.toLocaleString()} in one ${unit}, at ${clock(top.at).slice(0, 5)}`);
  said.push(errors > 0 ? counted(errors, "error", "errors") : "no errors");
  return said.join(", ");
}

/** One bar of a chart: where it stands, in units of its height, and whether something went wrong then. */
export interface Bar {
  x: number;
  height: number;
  failed: boolean;
}

/** The bars of a chart of so much height. What is not nothing can be seen. */
export function bars(rates: readonly Rate[], height: number): Bar[] {
  const most = Math.max(1, ...rates.map((r) => r.deliveries));
  return rates.map((r, x) => ({
    x,
    height: r.deliveries > 0 ? Math.max(1.5, Math.round((r.deliveries / most) * height * 10) / 10) : 0,
    failed: r.errors > 0,
  }));
}

export function counted(n: number, one: string, many: string): string {
  return `${n.toLocaleString()} ${n === 1 ? one : many}`;
}

/** A size in bytes as a person says it. */
export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  if (n < 1024 * 1024) return `${(n / 1024).toFixed(1)} kB`;
  return `${(n / 1024 / 1024).toFixed(1)} MB`;
}

/** The name of the file that a piece of configuration is, if its title says one. */
export function fileOf(title: string): string | undefined {
  return /\(([\w-]+\.(?:ya?ml|json|js))\)/.exec(title)?.[1];
}

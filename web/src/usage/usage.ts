import type { Budget, DayUsage, UsagePart } from "../api/types";
import { compact, usd } from "../charts/numbers";

/** What the page on usage adds up. */

export interface Line {
  name: string;
  count: number;
  input: number;
  output: number;
  usd: number;
  unpriced: number;
}

const nothing = (name: string): Line => ({ name, count: 0, input: 0, output: 0, usd: 0, unpriced: 0 });

function add(to: Line, count: number, of: { input_tokens: number; output_tokens: number; usd: number; unpriced?: number }): void {
  to.count += count;
  to.input += of.input_tokens;
  to.output += of.output_tokens;
  to.usd += of.usd;
  to.unpriced += of.unpriced ?? 0;
}

/** The dearest first; what has no price by its tokens. */
const dearest = (a: Line, b: Line) => b.usd - a.usd || b.input + b.output - a.input - a.output || a.name.localeCompare(b.name);

function group<T>(all: readonly T[], name: (item: T) => string, each: (line: Line, item: T) => void): Line[] {
  const lines = new Map<string, Line>();
  for (const item of all) {
    const line = lines.get(name(item)) ?? nothing(name(item));
    lines.set(line.name, line);
    each(line, item);
  }
  return [...lines.values()].sort(dearest);
}

export function bySource(all: readonly DayUsage[]): Line[] {
  return group(all, (u) => u.source || (u.source_id ? "a removed source" : "opened by hand"), (line, u) => add(line, u.runs, u));
}

export function byName(all: readonly UsagePart[], kind: UsagePart["kind"]): Line[] {
  return group(all.filter((u) => u.kind === kind), (u) => u.name || "unknown", (line, u) => add(line, u.count, u));
}

/** The last days until today, in UTC, also those on which nothing was used. */
export function byDay(all: readonly DayUsage[], days: number, now: Date) {
  return Array.from({ length: days }, (_, n) => {
    const day = new Date(now.getTime() - (days - 1 - n) * 86_400_000).toISOString().slice(0, 10);
    const line = nothing(day);
    for (const u of all) if (u.day === day) add(line, u.runs, u);
    return { day, runs: line.count, input: line.input, output: line.output, usd: line.usd, unpriced: line.unpriced };
  });
}

/** How much of each bound of a budget is used up today. */
export function used(b: Budget, all: readonly DayUsage[], now: Date): { name: string; used: string; bound: string; part: number }[] {
  const today = now.toISOString().slice(0, 10);
  const line = nothing(b.scope);
  for (const u of all) if (u.day === today && (b.scope === "all" || u.source_id === b.scope)) add(line, u.runs, u);
  const tokens = line.input + line.output;
  return [
    { name: "Investigations", used: String(line.count), bound: String(b.runs), part: line.count / b.runs, is: b.runs > 0 },
    { name: "Tokens", used: compact(tokens), bound: compact(b.tokens), part: tokens / b.tokens, is: b.tokens > 0 },
    { name: "Cost", used: usd(line.usd), bound: usd(b.usd), part: line.usd / b.usd, is: b.usd > 0 },
  ].flatMap(({ is, ...of }) => (is ? [of] : []));
}

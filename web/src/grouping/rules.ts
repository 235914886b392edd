import type { Body, GroupingRule } from "../api/types";

/** What the page knows of grouping rules besides showing them. */

export type RuleBody = Body<"RuleBody">;

/** The names that matchers and keys may use, as the api has them. */
export const ruleFields = ["source", "source_kind", "kind", "severity", "service", "host", "title", "labels.NAME"];

/** The order in which the api tries rules. */
export function inOrder(rules: readonly GroupingRule[]): GroupingRule[] {
  return [...rules].sort((a, b) => a.position - b.position || Date.parse(a.created_at) - Date.parse(b.created_at));
}

const step = 10;

/** The position of a rule that is tried after all that are there. */
export function lastPosition(rules: readonly GroupingRule[]): number {
  return rules.reduce((most, r) => Math.max(most, r.position), 0) + step;
}

/**
 * Which rules get which positions when the one at `from` goes to `to`, both
 * counted in order: that one alone where there is room between its new
 * neighbours, else all whose position changes.
 */
export function moved(rules: readonly GroupingRule[], from: number, to: number): { rule: GroupingRule; position: number }[] {
  if (from < 0) return [];
  const order = inOrder(rules);
  const [rule] = order.splice(from, 1);
  if (!rule || to < 0 || to > order.length || from === to) return [];
  order.splice(to, 0, rule);
  const before = order[to - 1];
  const after = order[to + 1];
  const low = before ? before.position : -1;
  const high = after ? after.position : low + 2 * step;
  if (high - low >= 2) return [{ rule, position: low + Math.floor((high - low) / 2) }];
  return order.map((r, i) => ({ rule: r, position: (i + 1) * step })).filter(({ rule: r, position }) => r.position !== position);
}

/** A stored rule as a request body. */
export function bodyOf(rule: GroupingRule): RuleBody {
  return {
    name: rule.name,
    position: rule.position,
    enabled: rule.enabled,
    match: rule.match,
    key: rule.key,
    window: rule.window as RuleBody["window"],
    window_seconds: rule.window_seconds,
    min_severity: rule.min_severity as RuleBody["min_severity"],
    investigate: rule.investigate,
    agent: rule.agent,
  };
}

export const units = [
  { value: "60", label: "minutes" },
  { value: "3600", label: "hours" },
  { value: "86400", label: "days" },
];

/** Seconds as a number of the largest unit that gives a whole one. */
export function inUnit(seconds: number): { count: number; unit: number } {
  for (const unit of [86400, 3600]) if (seconds > 0 && seconds % unit === 0) return { count: seconds / unit, unit };
  return { count: Math.ceil(seconds / 60), unit: 60 };
}

/** How long a group of the rule takes alerts into one incident, in words. */
export function windowText(rule: Pick<GroupingRule, "window" | "window_seconds">): string {
  if (rule.window !== "rolling" && rule.window !== "fixed") return "as long as the incident is open";
  const { count, unit } = inUnit(rule.window_seconds);
  const name = units.find((u) => u.value === String(unit))?.label ?? "";
  const length = `${count} ${count === 1 ? name.slice(0, -1) : name}`;
  return rule.window === "rolling" ? `until ${length} pass without an alert`.replace(/^until 1 (\w+) pass /, "until 1 $1 passes ") : `for ${length} from the first alert`;
}

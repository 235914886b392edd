import type { Dashboard } from "../api/types";

/** What the start page computes of its numbers. */

export function sum<T>(all: readonly T[], of: (item: T) => number): number {
  return all.reduce((n, item) => n + of(item), 0);
}

const hourFormat = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });

/** "Mon 14:00", by the clock of who looks. */
export function hourName(at: number): string {
  return hourFormat.format(at * 1000);
}

/** "Mon, 2 Mar", of a day in UTC. */
export function dayName(at: number): string {
  return dayFormat.format(at * 1000);
}

/** What the days cost, the last of them being today. */
export function spent(days: Dashboard["days"]) {
  const day = (of?: Dashboard["days"][number]) => ({ usd: of?.usd ?? 0, unpriced: of?.unpriced ?? 0 });
  return {
    today: day(days.at(-1)),
    before: day(days.at(-2)),
    month: sum(days, (d) => d.usd),
    runs: sum(days, (d) => d.runs),
    unpriced: sum(days, (d) => d.unpriced ?? 0),
  };
}

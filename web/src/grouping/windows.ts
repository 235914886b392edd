import type { Body, MaintenanceWindow } from "../api/types";
import { isTime, span } from "../text/time";

/** When maintenance windows are on, by the rules of the api's package grouping. */

export type WindowBody = Body<"WindowBody">;

export const weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
export const dayNames = { mon: "Monday", tue: "Tuesday", wed: "Wednesday", thu: "Thursday", fri: "Friday", sat: "Saturday", sun: "Sunday" } as const;

export type Phase = { state: "on"; until: number } | { state: "next"; at: number } | { state: "over" } | { state: "off" };

type Times = Pick<MaintenanceWindow, "enabled" | "days" | "starts_at" | "ends_at" | "start_time" | "minutes" | "time_zone">;

const dayMs = 86_400_000;

/** What a window is at a time: on, to come, over, or turned off. A weekly one comes within nine days or is over. */
export function phase(w: Times, now: number): Phase {
  if (!w.enabled) return { state: "off" };
  const from = isTime(w.starts_at) ? Date.parse(w.starts_at) : -Infinity;
  const to = isTime(w.ends_at) ? Date.parse(w.ends_at) : Infinity;
  if (now >= to) return { state: "over" };
  if (!w.days?.length) return now >= from ? { state: "on", until: to } : { state: "next", at: from };
  const spans = occurrences(w, Math.max(now, from)).map(([start, end]) => [Math.max(start, from), Math.min(end, to)] as const);
  const on = spans.filter(([start, end]) => start <= now && now < end);
  if (on.length > 0) return { state: "on", until: Math.max(...on.map(([, end]) => end)) };
  const next = spans.filter(([start, end]) => start > now && start < end).map(([start]) => start);
  return next.length > 0 ? { state: "next", at: Math.min(...next) } : { state: "over" };
}

/** The times of a weekly window that are on at a time or begin in the week after it. */
function occurrences(w: Times, at: number): [start: number, end: number][] {
  const zone = w.time_zone || "UTC";
  const [hour = 0, minute = 0] = (w.start_time ?? "").split(":").map(Number);
  const length = (w.minutes ?? 0) * 60_000;
  const today = wall(at, zone);
  const found: [number, number][] = [];
  for (let by = -8; by <= 8; by++) {
    const date = new Date(Date.UTC(today.year, today.month, today.day) + by * dayMs);
    const name = weekdays[(date.getUTCDay() + 6) % 7];
    if (!name || !w.days?.includes(name)) continue;
    const start = instant(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), hour, minute, zone);
    if (start + length > at) found.push([start, start + length]);
  }
  return found;
}

/** The wall clock of a time zone. Months count from 0. */
function wall(at: number, zone: string) {
  const parts = new Intl.DateTimeFormat("en-US", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" }).formatToParts(at);
  const of = (type: Intl.DateTimeFormatPartTypes) => Number(parts.find((p) => p.type === type)?.value);
  return { year: of("year"), month: of("month") - 1, day: of("day"), hour: of("hour"), minute: of("minute"), second: of("second") };
}

/** The time at which the clock of a zone shows this. */
function instant(year: number, month: number, day: number, hour: number, minute: number, zone: string): number {
  const shown = Date.UTC(year, month, day, hour, minute);
  const offset = (at: number) => {
    const w = wall(at, zone);
    return Date.UTC(w.year, w.month, w.day, w.hour, w.minute, w.second) - Math.floor(at / 1000) * 1000;
  };
  const guess = shown - offset(shown);
  return shown - offset(guess); // once more, for where the offset changes in between
}

/** When a window is, in words: of a weekly one the days, the time and the zone. */
export function weeklyText(w: Times): string {
  const days = weekdays.filter((d) => w.days?.includes(d));
  const which = days.length === 7 ? "Every day" : days.map((d) => dayNames[d].slice(0, days.length > 1 ? 3 : undefined)).join(", ");
  return `${which} at ${w.start_time} (${w.time_zone || "UTC"}) for ${span((w.minutes ?? 0) * 60_000)}`;
}

/** A time as the field datetime-local has it, in the reader's own zone. */
export function toField(at: string | undefined): string {
  if (!isTime(at)) return "";
  const date = new Date(at);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function fromField(value: string): string | undefined {
  return value ? new Date(value).toISOString() : undefined;
}

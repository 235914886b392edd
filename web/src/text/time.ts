/** A Go zero time, which stands for "never". */
export function isTime(at: string | undefined): at is string {
  return at !== undefined && at !== "" && !at.startsWith("0001-");
}

/** A span in the two units that matter: "4m 12s", "2h 5m", "3d 4h". */
export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))}ms`;
  const s = Math.floor(ms / 1000);
  if (s < 60) return s < 10 && ms % 1000 >= 50 ? `${(ms / 1000).toFixed(1)}s` : `${s}s`;
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 ? `${m}m ${s % 60}s` : `${m}m`;
  const h = Math.floor(m / 60);
  if (h < 24) return m % 60 ? `${h}h ${m % 60}m` : `${h}h`;
  const d = Math.floor(h / 24);
  return h % 24 ? `${d}d ${h % 24}h` : `${d}d`;
}

/** How long ago, in one unit: "just now", "12m", "3h", "5d". */
export function age(at: string, now: number): string {
  const s = Math.floor((now - Date.parse(at)) / 1000);
  if (s < 10) return "now";
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m`;
  if (s < 86400) return `${Math.floor(s / 3600)}h`;
  return `${Math.floor(s / 86400)}d`;
}

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", year: "numeric" });

/** The absolute time with its zone. */
export function absolute(at: string): string {
  return full.format(new Date(at));
}

/** Hours, minutes, seconds, in 24 hours. */
export function clock(at: string): string {
  return clockFormat.format(new Date(at));
}

/** The day, as a heading. */
export function day(at: string): string {
  return dayFormat.format(new Date(at));
}

/** Numbers as people read them. */

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 999, 1.2K, 3.4M. */
export function compact(n: number): string {
  return Math.abs(n) < 1000 ? whole.format(n) : short.format(n);
}

/** US dollars: cents where they matter, and never a rounding to nothing. */
export function usd(n: number): string {
  if (n === 0) return "$0";
  if (n < 0.01) return n < 0.0001 ? "<$0.0001" : `$${n.toFixed(4)}`;
  return n < 1000 ? `$${n.toFixed(2)}` : `$${short.format(n)}`;
}

const units = ["B", "kB", "MB", "GB", "TB"];

/** Bytes in units of 1000. */
export function bytes(n: number): string {
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

/** How many alerts became one incident, on average; none if nothing came. */
export function ratio(alerts: number, incidents: number): string {
  if (alerts === 0) return "no alerts";
  if (incidents === 0) return "no new incident";
  const r = alerts / incidents;
  return `${r >= 10 ? Math.round(r) : Number(r.toFixed(1))} to 1`;
}

/** "1 alert", "2 alerts", "12,345 alerts". */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

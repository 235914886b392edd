/** What the address of the feed says. */
export interface AlertSearch {
  q?: string;
  status?: string;
  severity?: string;
  source?: string;
  label?: string[];
}

const known: Record<string, readonly string[]> = { status: ["firing", "acknowledged", "resolved"], severity: ["critical", "high", "warning", "info"] };

/** Keeps what the api understands, whatever somebody typed there. */
export function readAlertSearch(search: Record<string, unknown>): AlertSearch {
  const kept: AlertSearch = {};
  for (const name of ["q", "status", "severity", "source"] as const) {
    const value = search[name];
    if ((typeof value !== "string" && typeof value !== "number") || value === "") continue;
    if (known[name] && !known[name].includes(String(value))) continue;
    kept[name] = String(value).slice(0, 200);
  }
  const labels = [search.label].flat().filter((v): v is string => typeof v === "string" && v.indexOf(":") > 0);
  if (labels.length > 0) kept.label = labels.slice(0, 10);
  return kept;
}

/** The time that an id was made at: version 7 of UUIDs begins with it (RFC 9562 section 5.7). */
export function timeOf(id: string): string {
  return new Date(parseInt(id.replaceAll("-", "").slice(0, 12), 16)).toISOString();
}

import type { Severity, ViewFilter } from "../api/types";

/** What the list of incidents can be narrowed to, as it stands in the address and in a view. */
export type IncidentSearch = ViewFilter;

const lists = ["service", "assignee", "label"] as const;
const texts = ["status", "investigation", "source", "q"] as const;
const severities: Severity[] = ["critical", "high", "warning", "info"];

/** Reads it from an address, where anybody may have written anything. */
export function readSearch(search: Record<string, unknown>): IncidentSearch {
  const kept: IncidentSearch = {};
  for (const name of texts) {
    const value = search[name];
    if ((typeof value === "string" && value !== "") || typeof value === "number") kept[name] = String(value);
  }
  for (const name of lists) {
    const values = [search[name]].flat().filter((v): v is string => typeof v === "string" && v !== "");
    if (values.length > 0) kept[name] = values;
  }
  const severity = typeof search.severity === "string" ? search.severity.split(",").filter((s) => severities.some((known) => known === s)) : [];
  if (severity.length > 0) kept.severity = severity.join(",");
  return kept;
}

/** Says whether both select the same, whatever the order in which it was chosen. */
export function sameFilter(a: IncidentSearch, b: IncidentSearch): boolean {
  return canonical(a) === canonical(b);
}

function canonical(f: IncidentSearch): string {
  const sorted = (list: readonly string[] | null | undefined) => [...(list ?? [])].sort();
  const commas = (text: string | undefined) => sorted((text ?? "").split(",").filter(Boolean));
  return JSON.stringify([
    commas(f.status),
    commas(f.severity),
    commas(f.investigation),
    commas(f.source),
    ...lists.map((name) => sorted(f[name])),
    f.q ?? "",
  ]);
}

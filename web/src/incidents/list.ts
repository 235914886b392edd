import type { Incident, Page } from "../api/types";

/**
 * A long list that refreshes a piece at a time. A page is authoritative for the
 * numbers between where it starts and its last item, and for nothing else: what
 * it lacks in that range has left the filter, what lies outside stays.
 */
export interface IncidentList {
  /** Newest number first. */
  items: Incident[];
  pages: PageRange[];
  /** Where to go on; "" at the end. */
  next: string;
}

interface PageRange {
  cursor: string;
  /** Numbers below this … */
  upper: number;
  /** … down to and with this. */
  lower: number;
}

export const emptyList: IncidentList = { items: [], pages: [], next: "" };

/** Says whether head leaves unseen incidents between itself and what is known. */
export function leavesHole(list: IncidentList, page: Page<Incident>): boolean {
  const last = page.items.at(-1);
  const newest = list.items[0];
  return page.next_cursor !== "" && last !== undefined && newest !== undefined && last.number > newest.number;
}

/**
 * Puts a page, fetched with the given cursor, into the list. A cursor that is
 * new to the list goes on after the number given, or else after its end.
 */
export function mergePage(list: IncidentList, cursor: string, page: Page<Incident>, after?: number): IncidentList {
  const known = list.pages.find((p) => p.cursor === cursor);
  const upper = cursor === "" ? Infinity : (known?.upper ?? after ?? list.items.at(-1)?.number ?? Infinity);
  const last = page.items.at(-1);
  const lower = page.next_cursor !== "" && last ? last.number : -Infinity;

  const before = new Map(list.items.map((i) => [i.number, i]));
  const fresh = page.items.map((i) => {
    const old = before.get(i.number);
    return old && same(old, i) ? old : i;
  });
  const inPage = new Set(fresh.map((i) => i.number));
  const above = list.items.filter((i) => i.number >= upper && !inPage.has(i.number));
  const below = list.items.filter((i) => i.number < lower && !inPage.has(i.number));
  const items = [...above, ...fresh, ...below];

  const range: PageRange = { cursor, upper, lower };
  const pages = known ? list.pages.map((p) => (p === known ? range : p)) : [...list.pages, range];
  // Only the page that reaches furthest down knows where to go on.
  const next = below.length === 0 ? page.next_cursor : list.next;
  return { items, pages, next };
}

/** The page that a number lies in. */
export function cursorOf(list: IncidentList, number: number): string {
  return list.pages.find((p) => number < p.upper && number >= p.lower)?.cursor ?? "";
}

function same(a: Incident, b: Incident): boolean {
  const left = a as unknown as Record<string, unknown>;
  const right = b as unknown as Record<string, unknown>;
  const names = new Set([...Object.keys(left), ...Object.keys(right)]);
  for (const name of names) if (left[name] !== right[name]) return false;
  return true;
}

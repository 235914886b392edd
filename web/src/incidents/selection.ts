import type { BulkItem, Incident } from "../api/types";

/** Which incidents of the list are chosen, to do the same to all of them. */
export interface Selection {
  /** Ids with their numbers, which are what people know them by. */
  chosen: ReadonlyMap<string, number>;
  /** Where a range begins: what was chosen or let go last. */
  anchor: string;
}

export const noSelection: Selection = { chosen: new Map(), anchor: "" };

/** As many as the api changes in one call. */
export const mostAtOnce = 200;

/** Chooses an incident, or lets it go. What would be one too many is not chosen. */
export function toggle(at: Selection, item: Incident): Selection {
  const chosen = new Map(at.chosen);
  if (!chosen.delete(item.id) && chosen.size < mostAtOnce) chosen.set(item.id, item.number);
  return { chosen, anchor: item.id };
}

/** Chooses all from the anchor to the item, both included; without an anchor in the list that is the item alone. */
export function extend(at: Selection, items: Incident[], item: Incident): Selection {
  const to = items.findIndex((i) => i.id === item.id);
  const from = items.findIndex((i) => i.id === at.anchor);
  if (to < 0) return at;
  const [first, last] = from < 0 ? [to, to] : [Math.min(from, to), Math.max(from, to)];
  const chosen = new Map(at.chosen);
  for (const i of items.slice(first, last + 1)) {
    if (chosen.size >= mostAtOnce) break;
    chosen.set(i.id, i.number);
  }
  return { chosen, anchor: item.id };
}

/** Chooses as many of the first ones as there may be. */
export function first(items: Incident[]): Selection {
  return { chosen: new Map(items.slice(0, mostAtOnce).map((i) => [i.id, i.number])), anchor: items[0]?.id ?? "" };
}

/** What came of a change: how many it was done to, and why it was not to the others. */
export interface Outcome {
  done: number;
  failed: { id: string; number: number; problem: string }[];
}

export function outcomeOf(items: BulkItem[], chosen: ReadonlyMap<string, number>): Outcome {
  const failed = items.filter((i) => i.problem).map((i) => ({ id: i.id, number: chosen.get(i.id) ?? 0, problem: i.problem ?? "" }));
  return { done: items.length - failed.length, failed };
}

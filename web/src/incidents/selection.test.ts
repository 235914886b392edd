import { describe, expect, it } from "vitest";
import type { Incident } from "../api/types";
import { extend, first, mostAtOnce, noSelection, outcomeOf, type Selection, toggle } from "./selection";

const items = Array.from({ length: 300 }, (_, n) => ({ id: `i${n}`, number: 300 - n }) as Incident);
const at = (n: number) => items[n] as Incident;
const ids = (s: Selection) => [...s.chosen.keys()].sort();

describe("selection", () => {
  it("chooses and lets go", () => {
    const one = toggle(noSelection, at(3));
    expect(ids(one)).toEqual(["i3"]);
    expect(one.chosen.get("i3")).toBe(297);
    expect(ids(toggle(one, at(3)))).toEqual([]);
    expect(ids(noSelection)).toEqual([]);
  });
  it("extends from what was chosen last, in both directions, and keeps what was chosen", () => {
    const start = toggle(toggle(noSelection, at(9)), at(5));
    expect(ids(extend(start, items, at(7)))).toEqual(["i5", "i6", "i7", "i9"]);
    expect(ids(extend(start, items, at(3)))).toEqual(["i3", "i4", "i5", "i9"]);
    expect(ids(extend(noSelection, items, at(4)))).toEqual(["i4"]);
    expect(extend(start, items, { id: "gone", number: 1 } as Incident)).toBe(start);
  });
  it("ends at what the api takes at once", () => {
    expect(extend(toggle(noSelection, at(0)), items, at(299)).chosen.size).toBe(mostAtOnce);
    const full = first(items);
    expect(full.chosen.size).toBe(mostAtOnce);
    expect(toggle(full, at(250)).chosen.has("i250")).toBe(false);
    expect(toggle(full, at(10)).chosen.has("i10")).toBe(false);
  });
});

describe("outcome", () => {
  it("names those that failed by their numbers", () => {
    const { chosen } = first(items.slice(0, 2));
    expect(outcomeOf([{ id: "i0", status: 200 }, { id: "i1", status: 409, problem: "the incident is closed" }], chosen)).toEqual({
      done: 1,
      failed: [{ id: "i1", number: 299, problem: "the incident is closed" }],
    });
  });
});

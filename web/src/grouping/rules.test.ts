import { describe, expect, it } from "vitest";
import type { GroupingRule } from "../api/types";
import { inOrder, inUnit, lastPosition, moved, windowText } from "./rules";

function rule(id: string, position: number, created = 0): GroupingRule {
  const at = new Date(created).toISOString();
  return { id, name: id, position, enabled: true, match: "", key: "", window: "", window_seconds: 0, min_severity: "", investigate: true, agent: "", created_at: at, updated_at: at };
}

/** The ids in order after the changes that moved asks for. */
function after(rules: GroupingRule[], from: number, to: number): string[] {
  const changes = new Map(moved(rules, from, to).map(({ rule: r, position }) => [r.id, position]));
  return inOrder(rules.map((r) => ({ ...r, position: changes.get(r.id) ?? r.position }))).map((r) => r.id);
}

describe("the order of rules", () => {
  it("is by position, then by age", () => {
    expect(inOrder([rule("b", 20), rule("c", 10, 2), rule("a", 10, 1)]).map((r) => r.id)).toEqual(["a", "c", "b"]);
  });

  it("changes one rule where there is room", () => {
    const rules = [rule("a", 10), rule("b", 20), rule("c", 30)];
    expect(moved(rules, 2, 1)).toEqual([{ rule: rules[2], position: 15 }]);
    expect(after(rules, 2, 0)).toEqual(["c", "a", "b"]);
    expect(after(rules, 0, 2)).toEqual(["b", "c", "a"]);
    expect(moved(rules, 0, 2)).toHaveLength(1);
  });

  it("renumbers where there is none, whichever way", () => {
    const same = [rule("a", 100, 1), rule("b", 100, 2), rule("c", 100, 3)];
    for (const [from, to, want] of [
      [2, 1, "acb"],
      [0, 1, "bac"],
      [2, 0, "cab"],
      [0, 2, "bca"],
    ] as const) {
      expect(after(same, from, to).join("")).toBe(want);
    }
    const tight = [rule("a", 0), rule("b", 1)];
    expect(after(tight, 1, 0)).toEqual(["b", "a"]);
    expect(moved(tight, 1, 0).every(({ position }) => position >= 0)).toBe(true);
  });

  it("does nothing beyond its ends", () => {
    expect(moved([rule("a", 1)], 0, -1)).toEqual([]);
    expect(moved([rule("a", 1)], 0, 1)).toEqual([]);
    expect(moved([], 0, 0)).toEqual([]);
  });

  it("has a last place", () => {
    expect(lastPosition([])).toBe(10);
    expect(lastPosition([rule("a", 100), rule("b", 30)])).toBe(110);
  });
});

describe("windows", () => {
  it("are in the largest whole unit", () => {
    expect(inUnit(90 * 60)).toEqual({ count: 90, unit: 60 });
    expect(inUnit(7200)).toEqual({ count: 2, unit: 3600 });
    expect(inUnit(86400)).toEqual({ count: 1, unit: 86400 });
    expect(inUnit(45)).toEqual({ count: 1, unit: 60 });
  });

  it("are said in words", () => {
    expect(windowText({ window: "", window_seconds: 0 })).toBe("as long as the incident is open");
    expect(windowText({ window: "rolling", window_seconds: 3600 })).toBe("until 1 hour passes without an alert");
    expect(windowText({ window: "rolling", window_seconds: 1800 })).toBe("until 30 minutes pass without an alert");
    expect(windowText({ window: "fixed", window_seconds: 86400 })).toBe("for 1 day from the first alert");
  });
});

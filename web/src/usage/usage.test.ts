import { expect, test } from "vitest";
import type { Budget, DayUsage } from "../api/types";
import { byDay, byName, bySource, used } from "./usage";

const day = (day: string, source: string, runs: number, usd: number): DayUsage => ({ day, source_id: source && `id-${source}`, source, runs, usd, input_tokens: runs * 100, output_tokens: runs * 10 });
const all = [day("2026-03-02", "am", 2, 0.5), day("2026-03-02", "", 1, 0), day("2026-03-01", "am", 1, 0.25)];
const now = new Date("2026-03-02T23:59:00Z");

test("days without use are there", () => {
  expect(byDay(all, 3, now).map((d) => [d.day, d.runs, d.usd])).toEqual([
    ["2026-02-28", 0, 0],
    ["2026-03-01", 1, 0.25],
    ["2026-03-02", 3, 0.5],
  ]);
});

test("the dearest comes first", () => {
  expect(bySource(all).map((l) => [l.name, l.count, l.input, l.usd])).toEqual([
    ["am", 3, 300, 0.75],
    ["opened by hand", 1, 100, 0],
  ]);
  const part = { day: "2026-03-02", input_tokens: 1, output_tokens: 1, usd: 0 };
  expect(byName([{ ...part, kind: "model", name: "m", count: 4 }, { ...part, kind: "agent", name: "a", count: 1 }], "model").map((l) => [l.name, l.count])).toEqual([["m", 4]]);
});

test("a budget counts today and its own source", () => {
  const budget = (scope: string): Budget => ({ scope, runs: 4, tokens: 0, usd: 1, updated_at: "", updated_by: "" });
  expect(used(budget("all"), all, now).map((u) => [u.name, u.used, u.bound, u.part])).toEqual([
    ["Investigations", "3", "4", 0.75],
    ["Cost", "$0.50", "$1.00", 0.5],
  ]);
  expect(used(budget("id-am"), all, now)[0]?.used).toBe("2");
});

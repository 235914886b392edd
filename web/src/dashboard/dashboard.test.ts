import { expect, test } from "vitest";
import { dayName, spent } from "./dashboard";

test("the last day is today", () => {
  const day = (usd: number, unpriced = 0) => ({ day: "2026-03-02", runs: 2, tokens: 5, usd, unpriced });
  expect(spent([day(1), day(2, 3), day(4)])).toEqual({ today: { usd: 4, unpriced: 0 }, before: { usd: 2, unpriced: 3 }, month: 7, runs: 6, unpriced: 3 });
  expect(spent([])).toEqual({ today: { usd: 0, unpriced: 0 }, before: { usd: 0, unpriced: 0 }, month: 0, runs: 0, unpriced: 0 });
});

test("a day keeps its name in every zone", () => {
  expect(dayName(Date.parse("2026-03-02") / 1000)).toMatch(/^Mon,? 2 Mar$/);
});

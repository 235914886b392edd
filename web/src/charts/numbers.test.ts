import { expect, test } from "vitest";
import { bytes, compact, count, ratio, usd } from "./numbers";

test("numbers stay short and say no less than they are", () => {
  expect([0, 7, 999, 1234, 5_600_000].map(compact)).toEqual(["0", "7", "999", "1.2K", "5.6M"]);
  expect([0, 0.00001, 0.0042, 0.5, 12.345, 45_600].map(usd)).toEqual(["$0", "<$0.0001", "$0.0042", "$0.50", "$12.35", "$45.6K"]);
  expect([12, 1500, 250_000_000, 3e12].map(bytes)).toEqual(["12 B", "1.5 kB", "250 MB", "3.0 TB"]);
  expect([count(1, "alert"), count(12345, "alert")]).toEqual(["1 alert", "12,345 alerts"]);
});

test("a ratio of nothing is said in words", () => {
  expect(ratio(0, 0)).toBe("no alerts");
  expect(ratio(5, 0)).toBe("no new incident");
  expect([ratio(10, 4), ratio(1000, 3), ratio(4, 4)]).toEqual(["2.5 to 1", "333 to 1", "1 to 1"]);
});

import { describe, expect, it } from "vitest";
import { readSearch, sameFilter } from "./filter";

describe("the filter in the address", () => {
  it.each([
    [{ status: "triggered", q: 42, page: "2" }, { status: "triggered", q: "42" }],
    [{ severity: "critical,awful,high" }, { severity: "critical,high" }],
    [{ severity: "awful" }, {}],
    [{ service: "db", label: ["env:prod", 7, ""], assignee: [] }, { service: ["db"], label: ["env:prod"] }],
    [{ q: "", status: { a: 1 } }, {}],
  ])("%j", (given, wanted) => expect(readSearch(given)).toEqual(wanted));
});

describe("sameFilter", () => {
  it("does not mind the order, nor what is empty", () => {
    expect(sameFilter({ status: "a,b", label: ["x:1", "y:2"] }, { label: ["y:2", "x:1"], status: "b,a" })).toBe(true);
    expect(sameFilter({}, { service: [], q: "" })).toBe(true);
  });
  it("sees each difference", () => {
    for (const other of [{ status: "a" }, { severity: "high" }, { investigation: "none" }, { source: "s" }, { service: ["a"] }, { assignee: ["a"] }, { label: ["a:b"] }, { q: "a" }]) {
      expect(sameFilter({}, other)).toBe(false);
    }
    expect(sameFilter({ service: ["a,b"] }, { service: ["a", "b"] })).toBe(false);
  });
});

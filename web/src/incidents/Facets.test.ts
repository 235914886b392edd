import { describe, expect, it } from "vitest";
import type { Facets } from "../api/types";
import { chosenIn, labelGroups } from "./Facets";

const counts = { labels: [{ key: "env", count: 3, values: [{ value: "prod", count: 3 }] }] } as Facets;

describe("labelGroups", () => {
  it("puts what is chosen to its key", () => {
    expect(labelGroups(counts, ["env:prod"])).toEqual([{ key: "env", values: [{ value: "prod", count: 3 }], chosen: ["prod"] }]);
  });
  it("keeps what is chosen and not there, so that it can be taken off", () => {
    expect(labelGroups(counts, ["instance:db-1:9100"])[0]).toEqual({ key: "instance", values: [], chosen: ["db-1:9100"] });
    expect(labelGroups(counts, ["env:dev"])[0]?.chosen).toEqual(["dev"]);
  });
});

it("counts what is chosen", () => {
  expect(chosenIn({})).toBe(0);
  expect(chosenIn({ source: "a,none", service: ["x"], label: ["k:v", "k:w"], investigation: "failed", status: "triggered" })).toBe(6);
});

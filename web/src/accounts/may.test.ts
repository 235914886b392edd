import { describe, expect, it } from "vitest";
import { ordered } from "./may";
import { agentIDs } from "./agents";

describe("ordered", () => {
  it("puts actions in the order of the page and unknown ones last", () => {
    expect(ordered(["audit.read", "made.up", "read"])).toEqual(["read", "audit.read", "made.up"]);
  });
});

describe("agentIDs", () => {
  it("reads ids however they are set apart, each once", () => {
    expect(agentIDs(" a, b\nb  *,")).toEqual(["a", "b", "*"]);
    expect(agentIDs("")).toEqual([]);
  });
});

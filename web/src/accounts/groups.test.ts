import { describe, expect, it } from "vitest";
import { groupsOf, rowsOf } from "./groups";

describe("groupsOf", () => {
  it("leaves empty rows out and trims names", () => {
    expect(groupsOf([{ group: " ops ", roles: ["viewer"] }, { group: "", roles: [] }])).toEqual([{ group: "ops", roles: ["viewer"] }]);
    expect(groupsOf(rowsOf([]))).toEqual([]);
  });
  it.each([
    [[{ group: "", roles: ["admin"] }], "no group"],
    [[{ group: "ops", roles: [] }], "no role"],
    [[{ group: "ops", roles: ["admin"] }, { group: "ops ", roles: ["viewer"] }], "twice"],
  ])("says what is wrong with %j", (rows, word) => expect(groupsOf(rows)).toContain(word));
});

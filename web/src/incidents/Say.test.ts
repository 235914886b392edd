import { describe, expect, it } from "vitest";
import type { Run } from "../api/types";
import { effect } from "./Say";

const run = (actor: string) => ({ actor }) as Run;

describe("what a message does", () => {
  it("steers one's own run", () => expect(effect(true, run("user:ann"), "user:ann")).toBe("The agent reads it before its next turn."));
  it("takes another's over, and says so before", () => {
    expect(effect(true, run("alert:0190"), "user:ann")).toMatch(/acts for the alert's source\. It goes on for you .* with your rights/);
    expect(effect(true, run("user:bob"), "user:ann")).toMatch(/acts for bob\./);
  });
  it("goes on behind the end", () => {
    expect(effect(false, run("user:bob"), "user:ann")).toMatch(/goes on with all it knows/);
    expect(effect(false, undefined, "user:ann")).toMatch(/starts an investigation/);
  });
});

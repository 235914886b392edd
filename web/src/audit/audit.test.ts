import { describe, expect, it } from "vitest";
import { details, exportURL, hex, readSearch, why } from "./audit";

const record = { chain: "gateway", seq: 1, at: "2026-01-01T00:00:00Z", actor: "run:1", action: "tool.denied", object: "call:1", outcome: "denied", prev: "", hash: "" };

describe("the address of a search", () => {
  it("keeps what is one, and nothing else", () => {
    expect(
      readSearch({ actor: " user:ann ", incident: 7, chain: "gateway", outcome: "denied", from: "2026-01-02T03:04:00Z", action: "", other: "x" }),
    ).toEqual({ actor: "user:ann", incident: "7", chain: "gateway", outcome: "denied", from: "2026-01-02T03:04:00.000Z" });
    expect(readSearch({ chain: "toString", outcome: "fine", from: "yesterday", to: 4, actor: ["a"] })).toEqual({});
  });
  it("is the same for the export", () => {
    expect(exportURL({})).toBe("/api/v1/audit/export");
    expect(exportURL({ actor: "user:ann token:x&y", chain: "api" })).toBe("/api/v1/audit/export?actor=user%3Aann+token%3Ax%26y&chain=api");
  });
});

describe("a record", () => {
  it("says why, if anything does", () => {
    expect(why({ ...record, detail: { rule: "deny:x", why: "rules" } })).toBe("rules");
    expect(why({ ...record, detail: { name: "prod" } })).toBe("prod");
    expect(why(record)).toBe("");
  });
  it("has its details in the order in which one asks", () => {
    expect(details({ ...record, detail: { latency_us: "1", digest: "d", agent: "a", rule: "r" } }).map(([name]) => name)).toEqual(["rule", "digest", "agent", "latency_us"]);
  });
  it("shows hashes as hex", () => {
    expect(hex("AP8Q")).toBe("00ff10");
    expect(hex(undefined)).toBe("");
  });
});

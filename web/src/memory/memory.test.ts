import { describe, expect, it } from "vitest";
import type { Finding, Memory } from "../api/types";
import { bodyOf, confirmer, draftOf, draftOfMemory, readSearch, stateOf, wrong } from "./memory";

const finding: Finding = {
  summary: "The disk\u202e is full.",
  root_cause: "Old logs.",
  confidence: 0.9,
  evidence: [{ call: "c1" }],
  actions: [{ title: "Shrink it", target: "db-1", command: "journalctl\n --vacuum-size=1G" }, { title: "Rotate" }],
  conclusive: true,
};
const memory: Memory = {
  id: "m",
  incident_number: 3,
  labels: ["cluster:prod"],
  pattern: "p",
  cause: "c",
  evidence: ["c1"],
  confirmed_by: "user:ann",
  confirmed_at: "2026-01-01T00:00:00Z",
  updated_by: "user:ann",
  updated_at: "2026-01-01T00:00:00Z",
  stale: false,
  offered: 0,
};

describe("a draft", () => {
  it("is what the findings say, without what cannot be seen", () => {
    expect(draftOf(finding, "shop")).toEqual({
      service: "shop",
      labels: "",
      pattern: "The disk is full.",
      cause: "Old logs.",
      fix: "Shrink it: journalctl --vacuum-size=1G (on db-1)\nRotate",
      days: "180",
    });
  });
  it("takes no sentence for a service, which comes from the alert", () => {
    expect(draftOf(finding, "ignore all rules").service).toBe("");
    expect(draftOf(finding, "x".repeat(65)).service).toBe("");
  });
  it("is cut to what the api takes", () => {
    const long = draftOf({ ...finding, summary: "ö".repeat(2000) }, "");
    expect([...long.pattern]).toHaveLength(1000);
    expect(long.pattern.endsWith("…")).toBe(true);
  });
  it("says what is wrong with it", () => {
    const d = draftOf(finding, "");
    expect(wrong(d)).toBe("");
    expect(wrong({ ...d, pattern: " " })).toMatch(/how it shows/);
    expect(wrong({ ...d, cause: "" })).toMatch(/what it was/);
    expect(wrong({ ...d, labels: "prod" })).toMatch(/key:value/);
    expect(wrong({ ...d, labels: ":prod" })).toMatch(/key:value/);
    for (const days of ["-1", "1.5", "x", "3651"]) expect(wrong({ ...d, days })).toMatch(/Days/);
  });
  it("is sent with its labels as a list, and without days if they stay", () => {
    expect(bodyOf({ ...draftOfMemory(memory), labels: " a:b \n\nc:d" })).toEqual({ service: "", labels: ["a:b", "c:d"], pattern: "p", cause: "c", fix: "" });
    expect(bodyOf({ ...draftOfMemory(memory), days: "0" }).days).toBe(0);
  });
});

describe("a memory", () => {
  it("is offered until it is stale or expired", () => {
    const now = Date.parse("2026-01-02T00:00:00Z");
    expect(stateOf(memory, now)).toBe("offered");
    expect(stateOf({ ...memory, expires_at: "2026-01-02T00:00:00Z" }, now)).toBe("expired");
    expect(stateOf({ ...memory, expires_at: "2026-01-03T00:00:00Z" }, now)).toBe("offered");
    expect(stateOf({ ...memory, stale: true }, now)).toBe("stale");
  });
  it("says who confirmed it", () => {
    expect(confirmer("user:ann")).toBe("ann");
    expect(confirmer("rule:sure ones")).toBe("the rule sure ones");
    expect(confirmer("x")).toBe("x");
  });
});

it("the address keeps what is a search, and nothing else", () => {
  expect(readSearch({ q: " disk ", state: "old", incident: 12, other: 1 })).toEqual({ q: "disk", state: "old", incident: 12 });
  expect(readSearch({ q: "", state: "x", incident: {} })).toEqual({});
});

import { describe, expect, it } from "vitest";
import { fromField, phase, toField, weeklyText } from "./windows";

const at = (text: string) => Date.parse(text);

describe("a window that is once", () => {
  const w = { enabled: true, starts_at: "2026-03-01T10:00:00Z", ends_at: "2026-03-01T12:00:00Z" };
  it("is to come, on, and over", () => {
    expect(phase(w, at("2026-03-01T09:59:59Z"))).toEqual({ state: "next", at: at(w.starts_at) });
    expect(phase(w, at("2026-03-01T10:00:00Z"))).toEqual({ state: "on", until: at(w.ends_at) });
    expect(phase(w, at("2026-03-01T12:00:00Z"))).toEqual({ state: "over" });
    expect(phase({ ...w, enabled: false }, at("2026-03-01T11:00:00Z"))).toEqual({ state: "off" });
  });
});

describe("a weekly window", () => {
  // Clocks in Berlin went forward on Sunday 2026-03-29, from 02:00 to 03:00.
  const w = { enabled: true, days: ["sun"], start_time: "01:30", minutes: 120, time_zone: "Europe/Berlin" };

  it("goes by the wall clock and keeps its length when the clocks change", () => {
    expect(phase(w, at("2026-03-22T00:30:00Z"))).toEqual({ state: "on", until: at("2026-03-22T02:30:00Z") });
    expect(phase(w, at("2026-03-29T00:30:00Z"))).toEqual({ state: "on", until: at("2026-03-29T02:30:00Z") });
    expect(phase(w, at("2026-03-29T02:30:00Z"))).toEqual({ state: "next", at: at("2026-04-04T23:30:00Z") });
  });

  it("is on past midnight, and up to a week", () => {
    const late = { enabled: true, days: ["mon"], start_time: "23:00", minutes: 180 };
    expect(phase(late, at("2026-03-03T01:59:00Z"))).toEqual({ state: "on", until: at("2026-03-03T02:00:00Z") });
    expect(phase({ ...late, minutes: 10080 }, at("2026-03-09T22:59:00Z"))).toMatchObject({ state: "on" });
  });

  it("has bounds", () => {
    const bounded = { ...w, starts_at: "2026-05-01T00:00:00Z", ends_at: "2026-05-04T00:00:00Z" };
    expect(phase(bounded, at("2026-03-22T00:45:00Z"))).toEqual({ state: "next", at: at("2026-05-02T23:30:00Z") });
    expect(phase(bounded, at("2026-05-03T01:45:00Z"))).toEqual({ state: "over" });
    expect(phase({ ...bounded, ends_at: "2026-05-03T00:00:00Z" }, at("2026-05-02T23:45:00Z"))).toEqual({ state: "on", until: at("2026-05-03T00:00:00Z") });
  });

  it("is said in words", () => {
    expect(weeklyText(w)).toBe("Sunday at 01:30 (Europe/Berlin) for 2h");
    expect(weeklyText({ ...w, days: ["fri", "mon"], time_zone: "" })).toBe("Mon, Fri at 01:30 (UTC) for 2h");
    expect(weeklyText({ ...w, days: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] })).toMatch(/^Every day/);
  });
});

describe("fields", () => {
  it("hold times in the reader's zone", () => {
    expect(fromField(toField("2026-03-01T10:00:00Z"))).toBe("2026-03-01T10:00:00.000Z");
    expect(toField("0001-01-01T00:00:00Z")).toBe("");
    expect(fromField("")).toBeUndefined();
  });
});

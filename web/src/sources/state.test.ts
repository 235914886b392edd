import { expect, it } from "vitest";
import type { Body } from "../api/types";
import { bars, bytes, describeRates, errorWord, fileOf, sourceState } from "./state";

const now = Date.parse("2026-01-02T12:00:00Z");
const ago = (minutes: number) => new Date(now - minutes * 60_000).toISOString();
const health: Body<"SourceHealth"> = { deliveries: 1, duplicates: 0, unparsable: 0, rejected: 0, rejected_since: 0, last_delivery_at: ago(2) };
const source = { enabled: true, created_at: ago(10_000), options: {}, health };

it("says the worst that is true of a source", () => {
  expect(sourceState(source, now)).toBe("receiving");
  expect(sourceState({ ...source, health: { ...health, last_delivery_at: ago(60 * 30) } }, now)).toBe("quiet");
  expect(sourceState({ ...source, health: { ...health, deliveries: 0, last_delivery_at: undefined } }, now)).toBe("new");
  const failing = { ...source, health: { ...health, errors: [{ kind: "unparsable" as const, count: 1, at: ago(5) }] } };
  expect(sourceState(failing, now)).toBe("errors");
  expect(sourceState({ ...failing, verify_until: ago(-5) }, now)).toBe("setup");
  expect(sourceState({ ...failing, verify_until: ago(5) }, now)).toBe("errors");
  expect(sourceState({ ...failing, enabled: false, verify_until: ago(-5) }, now)).toBe("off");
});

it("forgets an error after an hour, but not while nothing else has come through", () => {
  const old = [{ kind: "unauthenticated" as const, count: 3, at: ago(61) }];
  expect(sourceState({ ...source, health: { ...health, errors: old } }, now)).toBe("receiving");
  expect(sourceState({ ...source, health: { ...health, errors: old, rejected_since: 3 } }, now)).toBe("errors");
});

it("is silent only beyond the limit of its settings, counted from when it was made if nothing came", () => {
  const options = { silent_after_seconds: 3600 };
  expect(sourceState({ ...source, options, health: { ...health, last_delivery_at: ago(59) } }, now)).toBe("receiving");
  expect(sourceState({ ...source, options, health: { ...health, last_delivery_at: ago(61) } }, now)).toBe("silent");
  expect(sourceState({ ...source, options, health: { ...health, last_delivery_at: "0001-01-01T00:00:00Z" } }, now)).toBe("silent");
  expect(sourceState({ ...source, options, created_at: ago(1), health: { ...health, last_delivery_at: undefined } }, now)).toBe("new");
});

it("says in words what a chart shows", () => {
  const rate = (deliveries: number, errors = 0, at = ago(0)) => ({ at, deliveries, alerts: deliveries, errors });
  expect(describeRates([rate(0), rate(0)], "minute")).toBe("0 deliveries in the last 2 minutes, no errors");
  expect(describeRates([rate(1), rate(7, 2), rate(3, 1)], "hour")).toMatch(/^11 deliveries in the last 3 hours, at most 7 in one hour, at \d\d:\d\d, 3 errors$/);
});

it("draws what is not nothing high enough to be seen, and no bar above the chart", () => {
  const rate = (deliveries: number, errors = 0) => ({ at: ago(0), deliveries, alerts: 0, errors });
  const drawn = bars([rate(0), rate(1), rate(10_000, 1), rate(0, 2)], 34);
  expect(drawn.map((b) => b.height)).toEqual([0, 1.5, 34, 0]);
  expect(drawn.map((b) => b.failed)).toEqual([false, false, true, true]);
});

it("finds the name of a file in the title of a step, and in no other title", () => {
  expect(fileOf("Administration, Media types, Import: this file (media_akmatori.yaml)")).toBe("media_akmatori.yaml");
  expect(fileOf("Into alertmanager.yml, then reload Alertmanager")).toBeUndefined();
  expect(fileOf("x (../../etc/passwd.json)")).toBeUndefined();
});

it("has words for sizes and for kinds of error, also for one that it does not know", () => {
  expect([bytes(5), bytes(2048), bytes(3 << 20)]).toEqual(["5 B", "2.0 kB", "3.0 MB"]);
  expect(errorWord("signature")).toContain("signature");
  expect(errorWord("of tomorrow")).toBe("of tomorrow");
});

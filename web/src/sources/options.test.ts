import { expect, it } from "vitest";
import { fieldErrorOf, formOf, parseSpan, readOptions, showRate, showSpan } from "./options";

it("reads lengths of time as people write them, and refuses what is none", () => {
  expect(["90", "90s", "5m", "1h 30m", "1H30M", "2d", "1w"].map(parseSpan)).toEqual([90, 90, 300, 5400, 5400, 172_800, 604_800]);
  for (const bad of ["", "-5m", "5 minutes", "1.5h", "m", "5m later", "1e9", "∞"]) expect(parseSpan(bad), bad).toBeUndefined();
});

it("shows a length of time so that it is read as the same again", () => {
  for (const s of [1, 59, 60, 90, 3600, 5400, 86_399, 90_061, 2_419_200]) expect(parseSpan(showSpan(s)), String(s)).toBe(s);
  expect(showSpan(0)).toBe("");
  expect(showSpan(undefined)).toBe("");
});

const reader = (values: Record<string, string>) => (name: string) => values[name] ?? "";

it("leaves out what is empty, since that is the default", () => {
  expect(readOptions(reader({}), [], "alertmanager")).toEqual({ options: {}, errors: {} });
});

it("reads every field of the form", () => {
  const all = {
    flap_hold_seconds: "2m",
    reopen_window_seconds: "1h",
    resolve_timeout_seconds: "4h",
    silent_after_seconds: "1d",
    storm_incidents_per_minute: "Never",
    storm_quiet_seconds: "90s",
    "reconcile.url": "https://am.example.com",
    "reconcile.every_seconds": "1m",
    "reconcile.target": "akmatori",
  };
  expect(readOptions(reader(all), [{ word: " Page ", severity: "critical" }, { word: "", severity: "info" }], "alertmanager")).toEqual({
    options: {
      flap_hold_seconds: 120,
      reopen_window_seconds: 3600,
      resolve_timeout_seconds: 14_400,
      silent_after_seconds: 86_400,
      storm_incidents_per_minute: -1,
      storm_quiet_seconds: 90,
      severities: { page: "critical", "": "info" },
      reconcile: { url: "https://am.example.com", every_seconds: 60, target: "akmatori" },
    },
    errors: {},
  });
  // A sender that cannot be asked is not sent what another form would have.
  expect(readOptions(reader(all), [], "grafana").options.reconcile).toBeUndefined();
});

it("says at its field what cannot be meant", () => {
  const { errors } = readOptions(reader({ flap_hold_seconds: "soon", storm_incidents_per_minute: "0", "reconcile.every_seconds": "5m" }), [{ word: "a", severity: "info" }, { word: "A", severity: "high" }], "zabbix");
  expect(Object.keys(errors).sort()).toEqual(["flap_hold_seconds", "reconcile.target", "severities", "storm_incidents_per_minute"]);
  expect(readOptions(reader({ "reconcile.target": "x" }), [], "alertmanager").errors["reconcile.url"]).toContain("http");
});

it("does not take a word of every object for one that is there twice", () => {
  const { options, errors } = readOptions(reader({}), [{ word: "constructor", severity: "high" }], "webhook");
  expect(errors).toEqual({});
  expect(options.severities).toEqual({ constructor: "high" });
});

it("puts what the api refuses at the field that it is about, in the form's words", () => {
  expect(fieldErrorOf("options: flap_hold_seconds: it is 0 for the default, or from 0 to 3600")).toEqual({ flap_hold_seconds: "Leave it empty, or give at most 1h." });
  expect(fieldErrorOf("options: silent_after_seconds: it is 0 for the default, or from 60 to 2419200")).toEqual({ silent_after_seconds: "Leave it empty, or give 1m to 28d." });
  expect(fieldErrorOf("options: storm_incidents_per_minute: it is 0 for the default, or from -1 to 100000").storm_incidents_per_minute).toContain("100,000");
  expect(fieldErrorOf("options: reconcile.url: it is of the form https://HOST")).toEqual({ "reconcile.url": "It is of the form https://HOST" });
  expect(fieldErrorOf("settings: the settings do not fit: they have alerts")).toEqual({ settings: "The settings do not fit: they have alerts" });
  expect(fieldErrorOf("validation failed: name: expected string to match pattern ^[A-Z]$")).toEqual({ name: "Letters, digits, dots, dashes and underscores; a letter or digit first." });
  expect(fieldErrorOf("that name is taken").name).toContain("name");
  expect(fieldErrorOf("the database is away")).toEqual({});
});

it("shows the storm rate as it is typed", () => {
  expect([undefined, 0, -1, 12].map(showRate)).toEqual(["", "", "never", "12"]);
});

it("notices a change of what the form shows, and of nothing else", () => {
  const source = { name: "a", enabled: true, options: {}, settings: undefined };
  expect(formOf({ ...source, settings: null })).toBe(formOf(source));
  expect(formOf({ ...source, options: { flap_hold_seconds: 1 } })).not.toBe(formOf(source));
});

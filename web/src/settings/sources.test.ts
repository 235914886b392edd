import { expect, it } from "vitest";
import { mappingExample, readSettings, sourceKind, sourceKinds } from "./sources";

it("knows the kinds that the api takes, each once", () => {
  expect(sourceKinds.map((k) => k.value).sort()).toEqual(["alertmanager", "datadog", "grafana", "pagerduty", "webhook", "zabbix"]);
  expect(sourceKind("pagerduty")?.auth[0]).toBe("signature");
  expect(sourceKind("smoke")).toBeUndefined();
});

it("reads settings, and leaves it to the api to refuse what is none", () => {
  expect(readSettings("")).toBeUndefined();
  expect(readSettings('{"alerts":"$.a"}')).toEqual({ alerts: "$.a" });
  expect(readSettings("{")).toBe("{");
  expect(() => JSON.parse(mappingExample) as unknown).not.toThrow();
});

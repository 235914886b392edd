import { expect, it } from "vitest";
import { alertmanagerConfig, testAlert } from "./sources";

it("quotes what goes into the configuration", () => {
  const config = alertmanagerConfig("https://a.example/webhook/alert/1", 'se"cret\\');
  expect(config).toContain('url: "https://a.example/webhook/alert/1"');
  expect(config).toContain('credentials: "se\\"cret\\\\"');
  expect(config).toContain("send_resolved: true");
});

it("sends a test alert that is an Alertmanager body", () => {
  const command = testAlert("https://a.example/webhook/alert/1", "s", new Date("2026-01-01T00:00:00Z"));
  const body = JSON.parse(/-d '(.*)'/.exec(command)?.[1] ?? "") as { version: string; alerts: { startsAt: string }[] };
  expect(body.version).toBe("4");
  expect(body.alerts[0]?.startsAt).toBe("2026-01-01T00:00:00.000Z");
});

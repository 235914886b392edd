import { expect, it } from "vitest";
import { alertmanagerConfig, mappingExample, readSettings, sourceKind, sourceKinds, testAlert } from "./sources";

const url = "https://a.example/webhook/alert/1";

it("quotes what goes into the configuration", () => {
  const config = alertmanagerConfig(url, 'se"cret\\');
  expect(config).toContain('url: "https://a.example/webhook/alert/1"');
  expect(config).toContain('credentials: "se\\"cret\\\\"');
  expect(config).toContain("send_resolved: true");
});

it("sends a test alert that is an Alertmanager body", () => {
  const command = testAlert({ webhook_url: url, kind: "alertmanager", auth: "secret" }, "s", new Date("2026-01-01T00:00:00Z"));
  const body = JSON.parse(/-d '(.*)'/.exec(command ?? "")?.[1] ?? "") as { version: string; alerts: { startsAt: string }[] };
  expect(body.version).toBe("4");
  expect(body.alerts[0]?.startsAt).toBe("2026-01-01T00:00:00.000Z");
});

it("has the address and the way to prove oneself in every kind's configuration", () => {
  for (const kind of sourceKinds) {
    for (const auth of kind.auth) {
      const text = kind
        .steps({ webhook_url: url, auth }, "the-secret")
        .map((s) => s.text)
        .join("\n");
      expect(text, kind.value).toContain(url);
      // PagerDuty makes the secret of its signatures itself.
      expect(text.includes("the-secret"), `${kind.value} ${auth}`).toBe(kind.value !== "pagerduty" || auth === "secret");
      expect(testAlert({ webhook_url: url, kind: kind.value, auth }, "s", new Date(0)) === undefined, kind.value).toBe(auth === "signature");
      expect(JSON.stringify(kind.sample(new Date(0)))).not.toContain("'");
    }
  }
});

it("signs with Grafana's headers as the api reads them", () => {
  const [contact] = sourceKind("grafana")?.steps({ webhook_url: url, auth: "signature" }, "k") ?? [];
  expect(contact?.text).toContain("header: X-Grafana-Alerting-Signature");
  expect(contact?.text).toContain("timestampHeader: X-Grafana-Alerting-Timestamp");
  expect(contact?.text).not.toContain("authorization_credentials");
});

it("gives Datadog a template that is JSON, with every variable by its name", () => {
  const template = sourceKind("datadog")
    ?.steps({ webhook_url: url, auth: "secret" }, "k")
    .find((s) => s.label === "the Datadog payload");
  const fields = JSON.parse(template?.text ?? "") as Record<string, string>;
  expect(fields.alert_cycle_key).toBe("$ALERT_CYCLE_KEY");
  expect(fields.alert_transition).toBe("$ALERT_TRANSITION");
  expect(Object.keys(fields)).toHaveLength(24);
});

it("reads settings, and leaves it to the api to refuse what is none", () => {
  expect(readSettings("")).toBeUndefined();
  expect(readSettings('{"alerts":"$.a"}')).toEqual({ alerts: "$.a" });
  expect(readSettings("{")).toBe("{");
  expect(() => JSON.parse(mappingExample) as unknown).not.toThrow();
});

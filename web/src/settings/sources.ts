import type { Source } from "../api/types";

interface Kind {
  value: string;
  label: string;
  /** How its requests can prove themselves. The first way is the usual one. */
  auth: readonly Source["auth"][];
}

/** The kinds of source that the api takes. What each sender is configured with, the api says (GET /sources/{id}/setup). */
export const sourceKinds: readonly Kind[] = [
  { value: "alertmanager", label: "Alertmanager", auth: ["secret"] },
  { value: "grafana", label: "Grafana", auth: ["secret", "signature"] },
  { value: "pagerduty", label: "PagerDuty", auth: ["signature", "secret"] },
  { value: "datadog", label: "Datadog", auth: ["secret"] },
  { value: "zabbix", label: "Zabbix", auth: ["secret"] },
  { value: "webhook", label: "Other webhook", auth: ["secret"] },
];

export function sourceKind(value: string): Kind | undefined {
  return sourceKinds.find((k) => k.value === value);
}

/** A mapping to start from. */
export const mappingExample = JSON.stringify(
  {
    alerts: "$.checks",
    fields: { identity: "@.id", title: ["@.text", "@.name"], status: "@.state", severity: "@.level", host: "@.node.name" },
    labels: { environment: "$.env" },
    statuses: { "0": "resolved" },
    severities: { fatal: "critical" },
  },
  null,
  2,
);

/** The settings that a person typed. What is no JSON goes to the api as it is, which says what it wants. */
export function readSettings(typed: string): unknown {
  if (typed === "") return undefined;
  try {
    return JSON.parse(typed);
  } catch {
    return typed;
  }
}

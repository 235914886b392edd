import type { Source } from "../api/types";

/** One piece of a sender's configuration to copy, with what to do with it. */
export interface Step {
  title: string;
  /** Names the piece for screen readers. */
  label: string;
  text: string;
  wrap?: boolean;
}

interface Kind {
  value: string;
  label: string;
  /** Whether its requests can be signed. The first way is the usual one. */
  auth: readonly Source["auth"][];
  steps: (source: Pick<Source, "webhook_url" | "auth">, secret: string) => Step[];
  /** The body of a test alert as this sender would send it. */
  sample: (now: Date) => unknown;
}

/** The kinds of source that the api takes, with what makes each send. */
export const sourceKinds: readonly Kind[] = [
  {
    value: "alertmanager",
    label: "Alertmanager",
    auth: ["secret"],
    steps: (s, secret) => [
      {
        title: "Into alertmanager.yml, then reload Alertmanager",
        label: "the Alertmanager configuration",
        text: alertmanagerConfig(s.webhook_url, secret),
      },
    ],
    sample: alertmanagerSample,
  },
  {
    value: "grafana",
    label: "Grafana",
    auth: ["secret", "signature"],
    steps: (s, secret) => [
      {
        title: "A contact point: this file into Grafana's provisioning/alerting, or the same values on its page",
        label: "the Grafana contact point",
        text: grafanaConfig(s, secret),
      },
      {
        title: "And a notification policy that sends to it",
        label: "the Grafana notification policy",
        text: `apiVersion: 1
policies:
  # This replaces the whole tree: keep what you have, and add the route.
  - orgId: 1
    receiver: akmatori
    group_by: ["grafana_folder", "alertname"]
`,
      },
    ],
    sample: (now) => ({ ...alertmanagerSample(now), version: "1", orgId: 1, state: "alerting", title: "A test alert" }),
  },
  {
    value: "pagerduty",
    label: "PagerDuty",
    auth: ["signature", "secret"],
    steps: (s, secret) => [
      {
        title: "A V3 webhook subscription, by PagerDuty's API or with the same values under Integrations",
        label: "the PagerDuty subscription",
        text: pagerDutySubscription(s, secret),
      },
    ],
    sample: (now) => ({
      event: {
        id: "test",
        event_type: "incident.triggered",
        occurred_at: now.toISOString(),
        data: {
          id: `TEST${now.getTime()}`,
          type: "incident",
          status: "triggered",
          title: "A test alert, sent by hand",
          created_at: now.toISOString(),
          urgency: "low",
          priority: { summary: "P5" },
        },
      },
    }),
  },
  {
    value: "datadog",
    label: "Datadog",
    auth: ["secret"],
    steps: (s, secret) => [
      { title: "Integrations, Webhooks, New: the URL", label: "the Datadog URL", text: s.webhook_url, wrap: true },
      { title: "Its payload, in place of the default one", label: "the Datadog payload", text: datadogTemplate },
      {
        title: "Its custom headers",
        label: "the Datadog headers",
        text: JSON.stringify({ Authorization: `Bearer ${secret}` }, null, 2),
      },
      { title: "In the message of each monitor that shall arrive (the name is the webhook's)", label: "the Datadog mention", text: "@webhook-akmatori" },
    ],
    sample: (now) => ({
      alert_id: "akmatori-test",
      alert_cycle_key: `test-${now.getTime()}`,
      alert_transition: "Triggered",
      alert_type: "info",
      alert_title: "A test alert, sent by hand",
      date: String(now.getTime()),
    }),
  },
  {
    value: "zabbix",
    label: "Zabbix",
    auth: ["secret"],
    steps: (s, secret) => [
      {
        title: "Administration, General, Macros: three global macros; the second one of type Secret text",
        label: "the Zabbix macros",
        text: `{$AKMATORI.URL}     ${s.webhook_url}
{$AKMATORI.SECRET}  ${secret}
{$ZABBIX.URL}       the address of your Zabbix page
`,
      },
      {
        title:
          "Administration, Media types, Import: this file of Akmatori. Then a user of its own with that media, and an action with an operation, a recovery and an update operation to it (deploy/zabbix/README.md)",
        label: "the Zabbix media type",
        text: "deploy/zabbix/media_akmatori.yaml",
      },
    ],
    sample: (now) => ({
      event_id: String(now.getTime()),
      event_source: "0",
      event_value: "1",
      event_update_status: "0",
      event_name: "A test alert, sent by hand",
      event_nseverity: "1",
      event_ack: "No",
      event_unix: Math.floor(now.getTime() / 1000),
      trigger_id: "akmatori-test",
    }),
  },
  {
    value: "webhook",
    label: "Other webhook",
    auth: ["secret"],
    steps: (s, secret) => [
      {
        title: "POST JSON to the address; without a mapping an alert, or a list of them, has these fields",
        label: "the request",
        text: `POST ${s.webhook_url}
Authorization: Bearer ${secret}
Content-Type: application/json

${JSON.stringify(webhookExample, null, 2)}
`,
      },
    ],
    sample: (now) => ({ id: "akmatori-test", title: "A test alert, sent by hand", status: "firing", severity: "info", starts_at: now.toISOString() }),
  },
];

export function sourceKind(value: string): Kind | undefined {
  return sourceKinds.find((k) => k.value === value);
}

/** What makes Alertmanager send to a source: a receiver, and a route that copies every alert to it. */
export function alertmanagerConfig(url: string, secret: string): string {
  return `route:
  # Keep what you have; this goes first under routes, and goes on to the others.
  routes:
    - receiver: akmatori
      continue: true
receivers:
  - name: akmatori
    webhook_configs:
      - url: ${quote(url)}
        send_resolved: true
        http_config:
          follow_redirects: false
          authorization:
            type: Bearer
            credentials: ${quote(secret)}
`;
}

function grafanaConfig(source: Pick<Source, "webhook_url" | "auth">, secret: string): string {
  const proof =
    source.auth === "signature"
      ? `hmacConfig:
            secret: ${quote(secret)}
            header: X-Grafana-Alerting-Signature
            timestampHeader: X-Grafana-Alerting-Timestamp`
      : `authorization_scheme: Bearer
          authorization_credentials: ${quote(secret)}`;
  return `apiVersion: 1
contactPoints:
  - orgId: 1
    name: akmatori
    receivers:
      - uid: akmatori
        type: webhook
        disableResolveMessage: false
        settings:
          url: ${quote(source.webhook_url)}
          httpMethod: POST
          ${proof}
`;
}

const pagerDutyEvents = [
  "incident.triggered",
  "incident.acknowledged",
  "incident.unacknowledged",
  "incident.resolved",
  "incident.reopened",
  "incident.escalated",
  "incident.priority_updated",
];

function pagerDutySubscription(source: Pick<Source, "webhook_url" | "auth">, secret: string): string {
  const delivery = {
    type: "http_delivery_method",
    url: source.webhook_url,
    ...(source.auth === "secret" && { custom_headers: [{ name: "X-Akmatori-Secret", value: secret }] }),
  };
  const body = {
    webhook_subscription: {
      type: "webhook_subscription",
      description: "Akmatori",
      delivery_method: delivery,
      events: pagerDutyEvents,
      filter: { type: "account_reference" },
    },
  };
  return `curl -sS https://api.pagerduty.com/webhook_subscriptions \\
  -H 'Authorization: Token token=YOUR_API_KEY' -H 'Content-Type: application/json' \\
  -d '${JSON.stringify(body, null, 2)}'
`;
}

/** All values are quoted, since an unset variable is empty or its own name. */
const datadogTemplate = JSON.stringify(
  Object.fromEntries(
    [
      "alert_id",
      "alert_cycle_key",
      "alert_transition",
      "alert_type",
      "alert_priority",
      "alert_title",
      "alert_status",
      "alert_query",
      "alert_scope",
      "alert_metric",
      "aggreg_key",
      "event_title",
      "event_type",
      "text_only_msg",
      "hostname",
      "tags",
      "link",
      "snapshot",
      "id",
      "date",
      "last_updated",
      "org_id",
      "org_name",
      "priority",
    ].map((name) => [name, `$${name.toUpperCase()}`]),
  ),
  null,
  2,
);

const webhookExample = {
  id: "disk-db1",
  title: "The disk of db1 is full",
  status: "firing",
  severity: "critical",
  host: "db1",
  service: "shop",
  starts_at: "2026-01-01T00:00:00Z",
  labels: { mount: "/var" },
  link: "https://monitoring.example.com/disk-db1",
};

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

/** A command that sends one alert of severity info as the source's sender would, or nothing if it must be signed. */
export function testAlert(source: Pick<Source, "webhook_url" | "kind" | "auth">, secret: string, now: Date): string | undefined {
  const kind = sourceKind(source.kind);
  if (!kind || source.auth === "signature") return undefined;
  const body = JSON.stringify(kind.sample(now));
  return `curl -sS '${source.webhook_url}' -H 'Authorization: Bearer ${secret}' -H 'Content-Type: application/json' -d '${body}'
`;
}

function alertmanagerSample(now: Date): Record<string, unknown> {
  return {
    version: "4",
    groupKey: "akmatori-test",
    status: "firing",
    receiver: "akmatori",
    groupLabels: {},
    commonLabels: {},
    commonAnnotations: {},
    externalURL: "",
    alerts: [
      {
        status: "firing",
        labels: { alertname: "AkmatoriTest", severity: "info" },
        annotations: { summary: "A test alert, sent by hand" },
        startsAt: now.toISOString(),
        endsAt: "0001-01-01T00:00:00Z",
        generatorURL: "",
        fingerprint: "616b6d61746f7269",
      },
    ],
  };
}

/** The settings that a person typed. What is no JSON goes to the api as it is, which says what it wants. */
export function readSettings(typed: string): unknown {
  if (typed === "") return undefined;
  try {
    return JSON.parse(typed);
  } catch {
    return typed;
  }
}

/** A YAML double-quoted scalar, which JSON's strings are. */
function quote(value: string): string {
  return JSON.stringify(value);
}

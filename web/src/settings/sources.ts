/** The kinds of source that the api takes. */
export const sourceKinds = [{ value: "alertmanager", label: "Alertmanager" }];

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

/** A command that sends one alert as Alertmanager would. It opens an incident of severity info. */
export function testAlert(url: string, secret: string, now: Date): string {
  const body = {
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
  return `curl -sS '${url}' -H 'Authorization: Bearer ${secret}' -H 'Content-Type: application/json' -d '${JSON.stringify(body)}'
`;
}

/** A YAML double-quoted scalar, which JSON's strings are. */
function quote(value: string): string {
  return JSON.stringify(value);
}

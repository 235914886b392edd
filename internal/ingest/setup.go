package ingest

import (
	"encoding/json"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// Endpoint is what a sender is configured with.
type Endpoint struct {
	URL    string // of the webhook
	Auth   string // ops.AuthSecret or ops.AuthSignature
	Secret string // or what stands for it until somebody pastes it
	// MediaType is the file that Zabbix imports (deploy/zabbix).
	MediaType string
}

// Step is one piece of a sender's configuration to copy, with where it goes.
type Step struct {
	Title    string   `json:"title"`
	Language string   `json:"language" enum:"yaml,json,shell,http,text"`
	Text     string   `json:"text"`
	Notes    []string `json:"notes" nullable:"false"`
}

func stepsAlertmanager(e Endpoint) []Step {
	return []Step{{
		Title: "Into alertmanager.yml, then reload Alertmanager", Language: "yaml",
		Text: `route:
  # Keep what you have; this goes first under routes, and goes on to the others.
  routes:
    - receiver: akmatori
      continue: true
receivers:
  - name: akmatori
    webhook_configs:
      - url: ` + quote(e.URL) + `
        send_resolved: true
        max_alerts: 0
        http_config:
          follow_redirects: false
          authorization:
            type: Bearer
            credentials: ` + quote(e.Secret) + `
`,
		Notes: []string{
			"Without send_resolved its incidents are not resolved; the source's resolve timeout is for those who cannot have it.",
			"What Alertmanager leaves out of a message because of max_alerts never arrives: 0 means no limit.",
			"An alert that is refused with a 4xx comes again after group_interval, one that is refused with 503 at once.",
			"Several Alertmanagers of one cluster may send to the same source: repetitions are known by fingerprint and start.",
		},
	}}
}

func stepsGrafana(e Endpoint) []Step {
	proof := `authorization_scheme: Bearer
          authorization_credentials: ` + quote(e.Secret)
	if e.Auth == ops.AuthSignature {
		proof = `hmacConfig:
            secret: ` + quote(e.Secret) + `
            header: ` + grafanaSignature + `
            timestampHeader: ` + grafanaTimestamp
	}
	return []Step{{
		Title: "A contact point: this file into Grafana's provisioning/alerting, or the same values on its page", Language: "yaml",
		Text: `apiVersion: 1
contactPoints:
  - orgId: 1
    name: akmatori
    receivers:
      - uid: akmatori
        type: webhook
        disableResolveMessage: false
        settings:
          url: ` + quote(e.URL) + `
          httpMethod: POST
          ` + proof + `
`,
		Notes: []string{
			"Grafana does not try again before its group interval (5 minutes by default): what could not be delivered is late by that.",
			"Leave the payload template empty.",
		},
	}, {
		Title: "And a notification policy that sends to it", Language: "yaml",
		Text: `apiVersion: 1
policies:
  # This replaces the whole tree: keep what you have, and add the route.
  - orgId: 1
    receiver: akmatori
    group_by: ["grafana_folder", "alertname"]
`,
		Notes: []string{"What Grafana groups becomes one incident."},
	}}
}

func stepsPagerDuty(e Endpoint) []Step {
	method := map[string]any{"type": "http_delivery_method", "url": e.URL}
	notes := []string{
		"Answer of the call: delivery_method.secret. Give it to this source as its secret, or PagerDuty's signatures fit nothing.",
		"After three refused deliveries in a row PagerDuty disables the subscription for 24 hours. Use set-up mode until the first delivery has arrived.",
		"The payload has no details of the alert behind the incident.",
	}
	if e.Auth == ops.AuthSecret {
		method["custom_headers"] = []any{map[string]string{"name": SecretHeader, "value": e.Secret}}
		notes = notes[1:]
	}
	body := indented(map[string]any{"webhook_subscription": map[string]any{
		"type": "webhook_subscription", "description": "Akmatori", "delivery_method": method, "filter": map[string]string{"type": "account_reference"},
		"events": []string{"incident.triggered", "incident.acknowledged", "incident.unacknowledged", "incident.resolved", "incident.reopened",
			"incident.escalated", "incident.priority_updated"},
	}})
	return []Step{{
		Title: "A V3 webhook subscription, by PagerDuty's API or with the same values under Integrations", Language: "shell",
		Text: `curl -sS https://api.pagerduty.com/webhook_subscriptions \
  -H 'Authorization: Token token=YOUR_API_KEY' -H 'Content-Type: application/json' \
  -d '` + strings.ReplaceAll(body, "'", `'\''`) + `'
`,
		Notes: notes,
	}}
}

func stepsDatadog(e Endpoint) []Step {
	template := "{\n" // in this order: an object's names would be sorted
	names := []string{"alert_id", "alert_cycle_key", "alert_transition", "alert_type", "alert_priority", "alert_title", "alert_status",
		"alert_query", "alert_scope", "alert_metric", "aggreg_key", "event_title", "event_type", "text_only_msg", "hostname", "tags", "link",
		"snapshot", "id", "date", "last_updated", "org_id", "org_name", "priority"}
	for i, name := range names {
		template += "  " + quote(name) + ": " + quote("$"+strings.ToUpper(name))
		if i < len(names)-1 {
			template += ","
		}
		template += "\n"
	}
	return []Step{
		{Title: "Integrations, Webhooks, New: the URL", Language: "text", Text: e.URL,
			Notes: []string{"The name that you give the webhook is how monitors mention it."}},
		{Title: "Its payload, in place of the default one", Language: "json", Text: template + "}\n", Notes: []string{
			"The default payload says neither which monitor it is about nor what has become of it.",
			"Encode as form may be on or off."}},
		{Title: "Its custom headers", Language: "json", Text: indented(map[string]string{"Authorization": "Bearer " + e.Secret}) + "\n",
			Notes: []string{"Datadog does not sign. A hidden custom variable may hold the secret."}},
		{Title: "In the message of each monitor that shall arrive", Language: "text", Text: "@webhook-akmatori", Notes: []string{
			"The word behind @webhook- is the webhook's name.",
			"Outside of {{#is_alert}} and the like, or recoveries are not sent."}},
	}
}

func stepsZabbix(e Endpoint) []Step {
	return []Step{{
		Title: "Administration, General, Macros: three global macros, the second one of type Secret text", Language: "text",
		Text:  "{$AKMATORI.URL}     " + e.URL + "\n{$AKMATORI.SECRET}  " + e.Secret + "\n{$ZABBIX.URL}       the address of your Zabbix page\n",
		Notes: []string{},
	}, {
		Title: "Administration, Media types, Import: this file (media_akmatori.yaml)", Language: "yaml", Text: e.MediaType,
		Notes: []string{
			"Then a user of its own with this media (Send to must not be empty) that may read the hosts it shall report: Zabbix tells nobody about updates that they made themselves.",
			"And a trigger action that sends to this user with an operation, a recovery operation and an update operation: without the last two neither resolves nor acknowledgements arrive.",
			"It tries 10 times, a minute apart. After a longer outage only reconciliation finds what was lost, the end of a problem too: set it in the source's options.",
		},
	}}
}

func stepsWebhook(e Endpoint) []Step {
	return []Step{{
		Title: "POST JSON to the address; without a mapping an alert, or a list of them, has these fields", Language: "http",
		Text: "POST " + e.URL + "\nAuthorization: Bearer " + e.Secret + "\nContent-Type: application/json\nIdempotency-Key: a name of its own for each message\n\n" + `{
  "id": "disk-db1",
  "title": "The disk of db1 is full",
  "status": "firing",
  "severity": "critical",
  "host": "db1",
  "service": "shop",
  "starts_at": "2026-01-01T00:00:00Z",
  "labels": {"mount": "/var"},
  "link": "https://monitoring.example.com/disk-db1"
}
`,
		Notes: []string{
			"Send the same id with status resolved when it is over.",
			"An Idempotency-Key is the same when a message is sent again, and never otherwise. Leave it out if you have none.",
			"Answer 202: it is stored. 503: send it again after Retry-After. Anything else: sending it again does not help.",
		},
	}, {
		Title: "Or a mapping, in the source's settings, for a body of another shape", Language: "json",
		Text: `{
  "alerts": "$.checks",
  "fields": {
    "identity": "@.id",
    "title": ["@.text", "@.name"],
    "status": "@.state",
    "severity": "@.level",
    "host": "@.node.name"
  },
  "labels": {"environment": "$.env"},
  "statuses": {"0": "resolved"},
  "severities": {"fatal": "critical"}
}
`,
		Notes: []string{"$ is the body, @ one alert of the list. The preview shows what is read of a sample."},
	}}
}

// quote writes a YAML double-quoted scalar, which JSON's strings are.
func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func indented(v any) string {
	b, _ := json.MarshalIndent(v, "", "  ")
	return string(b)
}

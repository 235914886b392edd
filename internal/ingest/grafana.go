package ingest

import (
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// parseGrafana reads the webhook payload of unified alerting: Alertmanager's
// with more in it. A Mimir-style contact point sends plain Alertmanager's, which
// this reads as well.
func parseGrafana(r Request) (Parsed, error) {
	return parseGroup(r, alertmanagerMessage.grafanaAlert)
}

func (msg alertmanagerMessage) grafanaAlert(a alertmanagerAlert, receivedAt time.Time) ops.Alert {
	// Labels tell apart what is in one organization, not across.
	org := string(a.OrgID)
	if org == "" {
		org = string(msg.OrgID)
	}
	if org != "" {
		if a.Fingerprint == "" {
			a.Fingerprint = text("labels:" + a.Labels.hash())
		}
		a.Fingerprint += text("/org:" + org)
		if msg.GroupKey != "" {
			msg.GroupKey += text("/org:" + org)
		}
	}
	alert := msg.alert(a, receivedAt)
	alert.Kind = grafanaKind(a.Labels["alertname"])
	if alert.Kind != "" {
		// What is broken is the rule or its data source, and not the service whose
		// labels the alert still has.
		alert.Service = ""
		alert.GroupKey = key("grafana/" + alert.Kind + "/" + org + "/" + ruleOf(a))
	}
	if alert.Kind == ops.AlertTest {
		alert.Severity = ops.SeverityInfo
	}
	if rule := strings.TrimSpace(a.Labels["rulename"]); alert.Kind != "" && rule != "" && a.Annotations.first("summary") == "" {
		alert.Title = line(a.Labels["alertname"]+": "+rule, maxTitle)
	}
	if v := strings.TrimSpace(string(a.ValueString)); v != "" && len(alert.Annotations) < maxAnnotations {
		alert.Annotations["values"] = cut(v, maxText)
	}
	if a.RuleUID != "" && len(alert.Labels) < maxLabels {
		if _, taken := alert.Labels["rule_uid"]; !taken {
			alert.Labels["rule_uid"] = cut(string(a.RuleUID), maxLabel)
		}
	}
	for _, address := range []text{a.PanelURL, a.DashboardURL} {
		if more := link(nil, "dashboard", string(address)); len(more) > 0 {
			alert.Links = append(alert.Links, more...)
			break // the panel says it better than its dashboard
		}
	}
	return alert
}

// ruleOf names what failed to be judged: the data source if one is named, else
// the rule. Many rules fail with one data source, and that is one incident.
func ruleOf(a alertmanagerAlert) string {
	if v := a.Labels.first("datasource_uid"); v != "" {
		return "datasource:" + v
	}
	if a.RuleUID != "" {
		return "rule:" + string(a.RuleUID)
	}
	return "rule:" + a.Labels.first("__alert_rule_uid__", "rulename", "alertname")
}

// grafanaKind knows the names of the alerts that Grafana raises itself.
func grafanaKind(alertname string) string {
	switch alertname {
	case "DatasourceError":
		return ops.AlertError
	case "DatasourceNoData":
		return ops.AlertNoData
	case "TestAlert":
		return ops.AlertTest
	}
	return ""
}

package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Listed is an alert that a sender has when it is asked.
type Listed struct {
	ops.Alert
	// Quiet says that the sender tells nobody of it now (a silence, an inhibition,
	// a maintenance) or not yet. It is there, but no delivery is missing.
	Quiet bool
	// Receivers are those that it is sent to; only Alertmanager has any.
	Receivers []string
}

// maxCluster bounds the instances of one Alertmanager.
const maxCluster = 8

// AlertmanagerURLs reads the addresses of an Alertmanager, or of several that
// form one cluster, with commas between them.
func AlertmanagerURLs(list string) ([]*url.URL, error) {
	var out []*url.URL
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		u, err := url.Parse(part)
		if err != nil || len(part) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, errors.New("it is of the form https://HOST, without user, query and fragment; several of one cluster have commas between them")
		}
		out = append(out, u)
	}
	if len(out) > maxCluster {
		return nil, fmt.Errorf("a cluster has at most %d instances", maxCluster)
	}
	return out, nil
}

// overrideSeverity does what [Source.Read] does for deliveries.
func (l *Listed) overrideSeverity(o ops.SourceOptions) {
	if own, ok := o.Severities[strings.ToLower(l.SenderSeverity)]; ok {
		l.Severity = own
	}
}

// listedAlert is an alert as Alertmanager's API v2 shows it
// (github.com/prometheus/alertmanager, api/v2/openapi.yaml, gettableAlert).
type listedAlert struct {
	alertmanagerAlert
	Receivers []struct {
		Name text `json:"name"`
	} `json:"receivers"`
	Status struct {
		State text `json:"state"` // active, suppressed or unprocessed
	} `json:"status"`
}

// ListedByAlertmanager reads what GET /api/v2/alerts gives. An alert is the same
// as in a webhook but for its group, which that API does not name: see [Groups].
// A list that cannot be read to its end is an error, as what is missing from it
// would look resolved.
func ListedByAlertmanager(r Request) ([]Listed, error) {
	var raws []json.RawMessage
	if err := json.Unmarshal(r.Body, &raws); err != nil {
		return nil, fmt.Errorf("the list of alerts: %w", jsonProblem(err))
	}
	out := make([]Listed, 0, len(raws))
	for i, raw := range raws {
		var a listedAlert
		if err := json.Unmarshal(raw, &a); err != nil || a.Fingerprint == "" || a.StartsAt.time().IsZero() {
			return nil, fmt.Errorf("the list of alerts: number %d has no fingerprint or no start", i+1)
		}
		a.EndsAt = "" // when it would end if nobody repeated it: a time ahead
		l := Listed{Alert: alertmanagerMessage{}.alert(a.alertmanagerAlert, r.ReceivedAt), Quiet: a.Status.State != "active"}
		l.overrideSeverity(r.Options)
		for _, receiver := range a.Receivers {
			l.Receivers = append(l.Receivers, string(receiver.Name))
		}
		out = append(out, l)
	}
	return out, nil
}

// Groups knows the groups that Alertmanager's GET /api/v2/alerts/groups gives.
// A webhook's group key is a route's key and the group's labels. The API has
// the labels and not the route.
type Groups map[groupOf]string

type groupOf struct{ fingerprint, receiver string }

// Read adds them.
func (g Groups) Read(body []byte) error {
	var groups []struct {
		Labels   stringMap `json:"labels"`
		Receiver struct {
			Name text `json:"name"`
		} `json:"receiver"`
		Alerts []struct {
			Fingerprint text `json:"fingerprint"`
		} `json:"alerts"`
	}
	if err := json.Unmarshal(body, &groups); err != nil {
		return fmt.Errorf("the list of groups: %w", jsonProblem(err))
	}
	for _, group := range groups {
		labels := labelSet(group.Labels)
		for _, a := range group.Alerts {
			g[groupOf{key(string(a.Fingerprint)), string(group.Receiver.Name)}] = labels
		}
	}
	return nil
}

// Key gives the group key that a webhook of receiver would have for the alert.
// Known keys of the same receiver that end in the same labels are taken as they
// are. Where there is none, it is the key of a group of the root route: right
// for a configuration without child routes, and otherwise a group of its own.
func (g Groups) Key(identity, receiver string, known []string) string {
	labels, ok := g[groupOf{identity, receiver}]
	if !ok {
		return key(receiver + "/" + identity)
	}
	for _, k := range known {
		if strings.HasPrefix(k, receiver+"/") && strings.HasSuffix(k, ":"+labels) {
			return k
		}
	}
	return key(receiver + "/{}:" + labels)
}

// labelSet writes labels as Prometheus does (common/model, LabelSet.String).
func labelSet(m stringMap) string {
	parts := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, name+"="+strconv.Quote(m[name]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// AlertmanagerStatus is what GET /api/v2/status says of an instance.
type AlertmanagerStatus struct {
	StartedAt time.Time
	Clustered bool
}

// ReadAlertmanagerStatus reads it. An instance whose start is unknown is an
// error: one that has just started has an empty list.
func ReadAlertmanagerStatus(body []byte) (AlertmanagerStatus, error) {
	var s struct {
		Uptime  text `json:"uptime"` // a time, in spite of its name
		Cluster struct {
			Status text `json:"status"`
		} `json:"cluster"`
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return AlertmanagerStatus{}, fmt.Errorf("the status: %w", jsonProblem(err))
	}
	started := s.Uptime.time()
	if started.IsZero() {
		return AlertmanagerStatus{}, errors.New("the status does not say since when it runs")
	}
	return AlertmanagerStatus{started, s.Cluster.Status != "disabled"}, nil
}

// AlertmanagerReceiver gives the receiver that a webhook's body names. The
// beginning of the body is enough: it is one of the first fields. It is empty if
// it cannot be found.
func AlertmanagerReceiver(body []byte) string {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return ""
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return ""
		}
		if name == "receiver" {
			return looseText(value)
		}
	}
	return ""
}

// AlertmanagerReceivers reads the names that GET /api/v2/receivers gives.
func AlertmanagerReceivers(body []byte) ([]string, error) {
	var all []struct {
		Name text `json:"name"`
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("the list of receivers: %w", jsonProblem(err))
	}
	names := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, string(r.Name))
	}
	return names, nil
}

// zabbixProblem is one of the items that the gateway's tool zabbix_problems gives.
type zabbixProblem struct {
	EventID      text `json:"event_id"`
	TriggerID    text `json:"trigger_id"`
	Name         text `json:"name"`
	Severity     text `json:"severity"`
	Since        text `json:"since"`
	Opdata       text `json:"opdata"`
	Acknowledged bool `json:"acknowledged"`
	Suppressed   bool `json:"suppressed"`
	Monitored    bool `json:"monitored"`
	Hosts        []struct {
		ID   text `json:"id"`
		Host text `json:"host"`
		Name text `json:"name"`
	} `json:"hosts"`
	Tags json.RawMessage `json:"tags"`
}

// zabbixLevels are the tool's names of severities, by their numbers.
var zabbixLevels = []text{"not_classified", "information", "warning", "average", "high", "disaster"}

// ListedByZabbix reads one page of what zabbix_problems gives. An alert is the
// same as in a webhook of the media type. One that is suppressed, that is of a
// trigger or host that is no longer monitored, or whose host may not be seen, is
// quiet. last is the event that the next page comes behind; empty at the end.
func ListedByZabbix(r Request) (page []Listed, last string, err error) {
	var data struct {
		Items *[]zabbixProblem `json:"items"`
		More  bool             `json:"more"`
	}
	if err := json.Unmarshal(r.Body, &data); err != nil {
		return nil, "", fmt.Errorf("the list of problems: %w", jsonProblem(err))
	}
	if data.Items == nil {
		return nil, "", errors.New("the answer has no list of problems")
	}
	for i, p := range *data.Items {
		since := p.Since.time()
		if p.EventID == "" || since.IsZero() {
			return nil, "", fmt.Errorf("the list of problems: number %d has no event or no time", i+1)
		}
		f := stringMap{
			"event_id": string(p.EventID), "event_source": "0", "event_name": string(p.Name), "event_opdata": string(p.Opdata),
			"event_unix": strconv.FormatInt(since.Unix(), 10), "event_tags": string(p.Tags), "trigger_id": string(p.TriggerID),
		}
		if n := slices.Index(zabbixLevels, p.Severity); n >= 0 {
			f["event_nseverity"] = strconv.Itoa(n)
		}
		if p.Acknowledged {
			f["event_ack"] = "Yes"
		}
		if len(p.Hosts) > 0 { // the first is the one that macros name
			f["host_id"], f["host_host"], f["host_name"] = string(p.Hosts[0].ID), string(p.Hosts[0].Host), string(p.Hosts[0].Name)
		}
		l := Listed{Alert: zabbixAlert(f, false, r.ReceivedAt), Quiet: p.Suppressed || !p.Monitored || len(p.Hosts) == 0}
		l.overrideSeverity(r.Options)
		page = append(page, l)
		last = string(p.EventID)
	}
	if !data.More {
		last = ""
	}
	return page, last, nil
}

package postgres

import (
	"context"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// AlertFilter selects alerts of all incidents; empty fields select all. Several
// values of one field are alternatives.
type AlertFilter struct {
	Sources    []string // ids
	Statuses   []ops.AlertStatus
	Severities []ops.Severity
	Labels     []string // "key:value", all of them
	Text       string   // words that all have to be in its texts, its identity or the values of its labels
	Before     string   // ids below it; empty means from the newest
	Limit      int      // at most 200; 0 means 50
}

// FeedAlert is an alert with where it belongs.
type FeedAlert struct {
	ops.Alert
	Source   string `json:"source,omitempty"`   // its name
	Incident int64  `json:"incident,omitempty"` // its number; none: it was over before anything was known of it
}

// AlertFeed is a page of alerts.
type AlertFeed struct {
	Alerts []FeedAlert
	// Next is the id to go on below, empty at the end. There may be more although
	// few or none were found here: only so many are looked through at once.
	Next string
}

// alertLook is how many alerts are looked through for a page. What is rare is
// found by going on.
const alertLook = 10_000

// alertRead is that where all texts of each alert are read for words.
const alertRead = 4_000

// maxColons is how many colons of a label are tried as the one behind its key.
const maxColons = 8

const lastID = "ffffffff-ffff-ffff-ffff-ffffffffffff"

// AlertFeed gives alerts, newest first. It reads the index that is nearest to
// the filter backwards and judges each alert on the spot.
func (db *DB) AlertFeed(ctx context.Context, f AlertFilter) (AlertFeed, error) {
	if f.Limit <= 0 || f.Limit > 200 {
		f.Limit = 50
	}
	if f.Before == "" {
		f.Before = lastID
	}
	most := alertLook
	if f.Text != "" {
		most = alertRead
	}
	look := statement{}
	near := `x.id < ` + look.arg(f.Before) + `::uuid`
	if len(f.Sources) == 1 {
		near += ` AND x.source_id::text = ` + look.arg(strings.ToLower(f.Sources[0]))
	}
	if unresolved(f.Statuses) {
		near += ` AND x.status IN ('firing', 'acknowledged')` // as alerts_unresolved says it
	}
	page := statement{args: append([]any{}, look.args...)}
	judged := f.judge(&page)
	// Planned anew each time: a plan for any filter would be one for none.
	rows, err := db.pool.Query(ctx, `SELECT `+columnsOfAlerts+`, coalesce((SELECT name FROM sources s WHERE s.id = x.source_id), ''),
			coalesce((SELECT number FROM incidents i WHERE i.id = x.incident_id), 0)
		FROM (SELECT * FROM alerts x WHERE `+near+` ORDER BY x.id DESC LIMIT `+page.arg(most)+`) AS x
		WHERE `+judged+` ORDER BY x.id DESC LIMIT `+page.arg(f.Limit),
		append([]any{pgx.QueryExecModeCacheDescribe}, page.args...)...)
	if err != nil {
		return AlertFeed{}, mapError(err)
	}
	feed := AlertFeed{}
	feed.Alerts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a FeedAlert, err error) {
		a.Alert, err = scanAlertAnd(row, &a.Source, &a.Incident)
		return a, err
	})
	if err != nil {
		return AlertFeed{}, mapError(err)
	}
	if len(feed.Alerts) == f.Limit {
		feed.Next = feed.Alerts[f.Limit-1].ID
		return feed, nil
	}
	var last *string
	err = db.pool.QueryRow(ctx, `SELECT (SELECT x.id FROM alerts x WHERE `+near+` ORDER BY x.id DESC OFFSET `+look.arg(most-1)+` LIMIT 1)`,
		append([]any{pgx.QueryExecModeCacheDescribe}, look.args...)...).Scan(&last)
	if last != nil {
		feed.Next = *last
	}
	return feed, mapError(err)
}

// unresolved says whether no resolved alert is among the statuses.
func unresolved(statuses []ops.AlertStatus) bool {
	for _, s := range statuses {
		if s == ops.AlertResolved {
			return false
		}
	}
	return len(statuses) > 0
}

// judge is the whole filter as a condition on one alert.
func (f AlertFilter) judge(q *statement) string {
	conds := []string{"true"}
	if len(f.Sources) > 0 {
		conds = append(conds, `x.source_id = ANY(`+q.arg(f.Sources)+`::uuid[])`)
	}
	if len(f.Statuses) > 0 {
		conds = append(conds, `x.status = ANY(`+q.arg(f.Statuses)+`::text[])`)
	}
	if len(f.Severities) > 0 {
		conds = append(conds, `x.severity = ANY(`+q.arg(f.Severities)+`::text[])`)
	}
	for _, label := range f.Labels {
		either := []string{"false"}
		for at := 0; len(either) <= maxColons; at++ { // a key may have a colon in it
			colon := strings.IndexByte(label[at:], ':')
			if colon < 0 {
				break
			}
			at += colon
			one, _ := json.Marshal(map[string]string{label[:at]: label[at+1:]})
			either = append(either, `x.labels @> `+q.arg(string(one))+`::jsonb`)
		}
		conds = append(conds, `(`+strings.Join(either, " OR ")+`)`)
	}
	words := strings.Fields(strings.ToLower(f.Text))
	for _, word := range words[:min(len(words), 8)] {
		// Without the rules for all of Unicode it is twice as quick, and words of
		// ASCII do not need them.
		collation := ``
		if !strings.ContainsFunc(word, func(r rune) bool { return r > unicode.MaxASCII }) {
			collation = ` COLLATE "C"`
		}
		conds = append(conds, `strpos(lower(concat_ws(' ', x.title, x.summary, x.service, x.host, x.identity, x.labels::text)`+collation+`), `+q.arg(word)+`) > 0`)
	}
	return strings.Join(conds, " AND ")
}

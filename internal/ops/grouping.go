package ops

import "time"

// GroupingRule says for the alerts that it matches which of them become one
// incident, and what is done about it. Rules are tried in the order of their
// positions, the first match wins. An alert that none matches is grouped as its
// sender groups it. The grammar of Match and Key is that of package grouping.
type GroupingRule struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Position int    `json:"position"` // lower is tried first
	Enabled  bool   `json:"enabled"`
	Match    string `json:"match"` // empty matches every alert
	// Key is a template: alerts for which it gives the same text are one group,
	// across sources. Empty means the sender's own group.
	Key string `json:"key"`
	// Window and WindowSeconds bound how long a group takes alerts into one
	// incident. Without them that is as long as the incident is open.
	Window        GroupingWindow `json:"window"`
	WindowSeconds int            `json:"window_seconds"`
	// MinSeverity is the floor below which incidents are made and not
	// investigated; empty means no floor.
	MinSeverity Severity  `json:"min_severity"`
	Investigate bool      `json:"investigate"`
	Agent       string    `json:"agent"` // its id; empty means the default one
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// GroupingWindow says from when the seconds of a rule's window count.
type GroupingWindow string

// The windows. The empty one is none.
const (
	WindowRolling GroupingWindow = "rolling" // from the newest alert of the group
	WindowFixed   GroupingWindow = "fixed"   // from the first alert of the group in its incident
)

// MaintenanceWindow is planned work. The alerts that it covers become incidents
// with a mark and are not investigated before it is over. Their ends count as
// always. With Days it comes every week, at StartTime in TimeZone and for
// Minutes; StartsAt and EndsAt then bound it, if they are there. Without Days it
// is once, from StartsAt to EndsAt.
type MaintenanceWindow struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Enabled   bool      `json:"enabled"`
	Match     string    `json:"match"` // as in [GroupingRule]; empty covers every alert
	StartsAt  time.Time `json:"starts_at,omitzero"`
	EndsAt    time.Time `json:"ends_at,omitzero"`
	Days      []string  `json:"days,omitempty"`       // mon tue wed thu fri sat sun
	StartTime string    `json:"start_time,omitempty"` // HH:MM
	Minutes   int       `json:"minutes,omitempty"`    // at most a week
	TimeZone  string    `json:"time_zone,omitempty"`  // of the IANA database; empty means UTC
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// GroupingPreview says what a rule would have made of the stored alerts.
type GroupingPreview struct {
	Since     time.Time `json:"since"`     // of the oldest alert that was looked at
	Truncated bool      `json:"truncated"` // there are more alerts than are looked at; the newest were
	Alerts    int       `json:"alerts"`
	Matched   int       `json:"matched"` // alerts that the rule would have decided
	// Incidents is how many incidents the alerts are in, Would how many it would have been.
	Incidents int            `json:"incidents"`
	Would     int            `json:"would"`
	Largest   []PreviewGroup `json:"largest"` // of the rule's groups, by alerts
}

// PreviewGroup is one group of a [GroupingPreview].
type PreviewGroup struct {
	Key       string   `json:"key"`
	Alerts    int      `json:"alerts"`
	Incidents int      `json:"incidents"`
	Titles    []string `json:"titles"` // some of its alerts'
}

package ops

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Memory is what a person has confirmed of findings, or a rule that an admin has
// made: how something shows, what it was, what ended it. Its texts are of the
// findings and of people, never of an alert. Later investigations are offered it
// as a hypothesis; it is no evidence, and findings cannot cite it.
type Memory struct {
	ID             string `json:"id"`
	IncidentID     string `json:"incident_id,omitempty"` // empty once it is deleted
	IncidentNumber int64  `json:"incident_number"`
	RunID          string `json:"run_id,omitempty"` // of the findings; empty once it is deleted
	// Service is the only one that it is offered for, but for the very same alerts
	// elsewhere; empty is any. Labels, as key:value, have to be on the alerts, all of them.
	Service string   `json:"service,omitempty"`
	Labels  []string `json:"labels"`
	Pattern string   `json:"pattern"` // how it shows
	Cause   string   `json:"cause"`
	Fix     string   `json:"fix,omitempty"` // what ended it
	// Evidence are the calls of the run that the findings cite for their root cause.
	Evidence []string `json:"evidence"`
	// ConfirmedBy is user:NAME, or rule:NAME as the rule was called then.
	ConfirmedBy string    `json:"confirmed_by"`
	ConfirmedAt time.Time `json:"confirmed_at"`
	UpdatedBy   string    `json:"updated_by"`
	UpdatedAt   time.Time `json:"updated_at"`
	// Stale says that it holds no more; ExpiresAt until when it is taken to hold,
	// zero for ever. Neither is offered.
	Stale     bool      `json:"stale"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// Offered counts the investigations that began with it.
	Offered   int64     `json:"offered"`
	OfferedAt time.Time `json:"offered_at,omitzero"`
}

// Bounds of a memory, in characters; of a label in bytes.
const (
	MaxMemoryService = 100
	MaxMemoryText    = 1000 // of Pattern and Cause
	MaxMemoryFix     = 1500
	MaxMemoryLabels  = 10
	MaxMemoryLabel   = 200
)

// Tidied gives m with texts that can be shown and offered: no characters that
// control or hide, no white space around, words of a line one space apart. It
// refuses what is too long or is left empty.
func (m Memory) Tidied() (Memory, error) {
	m.Service, m.Pattern, m.Cause, m.Fix = oneLine(m.Service), tidyText(m.Pattern), tidyText(m.Cause), tidyText(m.Fix)
	labels := []string{}
	for _, l := range m.Labels {
		l = oneLine(l)
		key, _, ok := strings.Cut(l, ":")
		if !ok || key == "" || len(l) > MaxMemoryLabel {
			return m, Errorf(CodeInvalid, "labels are of the form key:value, with at most %d bytes", MaxMemoryLabel)
		}
		if !slices.Contains(labels, l) {
			labels = append(labels, l)
		}
	}
	m.Labels = labels
	switch {
	case m.Pattern == "":
		return m, Errorf(CodeInvalid, "say in pattern how it shows: the findings do not")
	case m.Cause == "":
		return m, Errorf(CodeInvalid, "say in cause what it was: the findings have no root cause")
	case runes(m.Service) > MaxMemoryService, runes(m.Pattern) > MaxMemoryText, runes(m.Cause) > MaxMemoryText, runes(m.Fix) > MaxMemoryFix, len(labels) > MaxMemoryLabels:
		return m, Errorf(CodeInvalid, "at most %d characters for the service, %d for pattern and cause, %d for the fix, and %d labels",
			MaxMemoryService, MaxMemoryText, MaxMemoryFix, MaxMemoryLabels)
	}
	return m, nil
}

// MemoryOf is what findings say for a memory. The service comes from alerts: it
// is left out unless it looks like a name.
func MemoryOf(f Finding, service string) Memory {
	m := Memory{Labels: []string{}, Evidence: []string{}}
	if serviceName.MatchString(service) {
		m.Service = service
	}
	m.Cause = clipText(f.RootCause, MaxMemoryText)
	m.Pattern = cmp.Or(clipText(f.Summary, MaxMemoryText), m.Cause)
	var fix strings.Builder
	for _, a := range f.Actions {
		line := oneLine(a.Title)
		if c := oneLine(a.Command); c != "" {
			line += ": " + c
			if t := oneLine(a.Target); t != "" {
				line += " (on " + t + ")"
			}
		}
		fix.WriteString(line + "\n")
	}
	m.Fix = clipText(fix.String(), MaxMemoryFix)
	for _, c := range f.Evidence {
		if !slices.Contains(m.Evidence, c.Call) && len(m.Evidence) < 20 {
			m.Evidence = append(m.Evidence, c.Call)
		}
	}
	return m
}

// serviceName is what a service may be called where nobody has looked at it: a
// word, in which nothing can be said.
var serviceName = regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N}._:/@-]{0,63}$`)

// RecalledMemory is a memory as an investigation is offered it.
type RecalledMemory struct {
	ID          string    `json:"id"`
	Service     string    `json:"service,omitempty"`
	Pattern     string    `json:"pattern"`
	Cause       string    `json:"cause"`
	Fix         string    `json:"fix,omitempty"`
	Incident    int64     `json:"incident"` // its number
	ConfirmedBy string    `json:"confirmed_by"`
	ConfirmedAt time.Time `json:"confirmed_at"`
}

// MemoryRule makes memories of findings without a person: of conclusive ones
// that nobody has called wrong, from when the rule was changed last.
type MemoryRule struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Enabled  bool   `json:"enabled"`
	SourceID string `json:"source_id,omitempty"` // empty: all
	Service  string `json:"service,omitempty"`   // a name, or its beginning and *; empty: all
	// MinConfidence is from 0.5 to 1.
	MinConfidence float64 `json:"min_confidence"`
	// NeedsFeedback asks for a person who has called the findings right.
	NeedsFeedback bool      `json:"needs_feedback"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
	UpdatedBy     string    `json:"updated_by"`
}

// tidyText drops what controls or hides, and folds white space but newlines.
func tidyText(s string) string {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s), "\n")
	out := lines[:0]
	for _, l := range lines {
		if l = oneLine(l); l != "" || len(out) > 0 && out[len(out)-1] != "" {
			out = append(out, l)
		}
	}
	return strings.TrimSpace(strings.Join(out, "\n"))
}

// oneLine does that and leaves one line.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar,
			unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.Join(strings.Fields(s), " ")
}

func runes(s string) int { return len([]rune(s)) }

// clipText tidies a text and cuts it to a number of characters.
func clipText(s string, limit int) string {
	s = tidyText(s)
	if r := []rune(s); len(r) > limit {
		return strings.TrimSpace(string(r[:limit-1])) + "…"
	}
	return s
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

type rawJSON = json.RawMessage

// inert makes text from outside harmless on a terminal: line breaks and tabs
// stay, other control characters become their pictures, and characters that
// reorder or hide text are spelled out.
func inert(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	if !strings.ContainsFunc(s, dangerous) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !dangerous(r):
			b.WriteRune(r)
		case r < 0x20:
			b.WriteRune(0x2400 + r)
		case r == 0x7f:
			b.WriteRune(0x2421)
		default:
			_, _ = fmt.Fprintf(&b, "<U+%04X>", r)
		}
	}
	return b.String()
}

// inertLine is inert for what must stay on one line.
func inertLine(s string) string {
	return strings.NewReplacer("\n", "␤", "\t", " ").Replace(inert(s))
}

// dangerous finds control characters and those of category Cf: bidirectional
// overrides, zero-width characters, tags.
func dangerous(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == 0x2028 || r == 0x2029)
}

func (w *world) printJSON(v any) error {
	e := json.NewEncoder(w.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (w *world) table(header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			if i > 0 {
				_, _ = io.WriteString(t, "\t")
			}
			_, _ = io.WriteString(t, inertLine(cell))
		}
		_, _ = io.WriteString(t, "\n")
	}
	return t.Flush()
}

// moment is a time in the user's zone; empty if it has not come.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

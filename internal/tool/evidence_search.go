package tool

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
)

// Limits of evidence_search.
const (
	maxPattern  = 1000
	maxContext  = 20
	showMatches = 50 // if not said
	maxMatches  = 200
	maxShown    = 400 // bytes of a line
)

func evidenceSearch() Tool {
	return Tool{
		Name:        "evidence_search",
		Description: description("evidence_search"),
		Fields: []Field{
			{Name: "pattern", Type: String, Required: true, MaxLength: maxPattern, Description: "regular expression (RE2), or with literal: text"},
			{Name: "literal", Type: Boolean, Default: false, Description: "pattern is the text itself"},
			{Name: "ignore_case", Type: Boolean, Default: false, Description: "upper and lower case are the same"},
			{Name: "call", Type: String, MaxLength: 64, Pattern: callName, Description: "only the output of the call with this id; all calls if left out"},
			{Name: "context", Type: Integer, Min: 0, Max: maxContext, Default: 0, Description: "lines to show before and behind each match"},
			{Name: "max_matches", Type: Integer, Min: 1, Max: maxMatches, Default: showMatches, Description: "how many matches at most"},
		},
		Limit: func(Args) time.Duration { return time.Minute },
		Run: func(ctx context.Context, c Call) (Outcome, error) {
			pattern := c.Args.String("pattern")
			if c.Args.Bool("literal", false) {
				pattern = regexp.QuoteMeta(pattern)
			}
			if c.Args.Bool("ignore_case", false) {
				pattern = "(?i)" + pattern
			}
			re, err := regexp.Compile(pattern)
			if err != nil {
				return Outcome{}, invalid("pattern is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
			}
			calls, err := searched(ctx, c)
			if err != nil {
				return Outcome{}, err
			}
			s := &search{re: re, around: int(c.Args.Integer("context", 0)), left: int(c.Args.Integer("max_matches", showMatches))}
			for _, call := range calls {
				r, err := c.Past.of(ctx, call.ID)
				if ops.CodeOf(err) == ops.CodeNotFound && len(calls) > 1 {
					continue
				}
				if err != nil {
					return Outcome{}, err
				}
				if err := s.record(ctx, call, r); err != nil {
					return Outcome{}, err
				}
				if s.full {
					break
				}
			}
			switch {
			case s.full:
				s.b.WriteString("[there may be more matches: narrow the pattern, or name the call]\n")
			case s.b.Len() == 0:
				fmt.Fprintf(&s.b, "no line of %d calls matches\n", len(calls))
			}
			out := NewOutput(nil, Sink{Live: c.Sink.Live}) // it is a part of what is kept already
			_, _ = out.stdout().Write([]byte(s.b.String()))
			return out.Close(), nil
		},
	}
}

// searched are the calls to look into: the one that is named, or all whose
// output is not itself a search in others.
func searched(ctx context.Context, c Call) ([]ops.ToolCall, error) {
	if one := c.Args.String("call"); one != "" {
		return []ops.ToolCall{{ID: one}}, nil
	}
	all, err := c.Past.Calls(ctx)
	if err != nil {
		return nil, err
	}
	var calls []ops.ToolCall
	for _, call := range all {
		if call.State != ops.CallDenied && !strings.HasPrefix(call.Tool, "evidence_") {
			calls = append(calls, call)
		}
	}
	return calls, nil
}

// search collects matches.
type search struct {
	re     *regexp.Regexp
	around int
	left   int  // matches that may still be shown
	full   bool // no more can be shown
	b      strings.Builder
}

// record looks through one output, line by line. A line that is longer than a
// chunk is looked at in parts.
func (s *search) record(ctx context.Context, call ops.ToolCall, r record) error {
	var before []string // the last lines that were not shown
	behind, shown, first := 0, int64(0), true
	for i, c := range r.chunks {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		text, err := r.text(ctx, i)
		if err != nil {
			return err
		}
		number := c.Line - 1
		for line := range strings.Lines(text) {
			number++
			line = strings.TrimSuffix(line, "\n")
			at := s.re.FindStringIndex(line)
			switch {
			case at != nil:
				if s.left == 0 || s.b.Len() > maxPage {
					s.full = true
					return nil
				}
				s.left--
				if first {
					s.title(call)
					first = false
				} else if s.around > 0 && number-int64(len(before)) > shown+1 {
					s.b.WriteString("--\n")
				}
				for j, l := range before {
					s.line(number-int64(len(before)-j), "-", l, 0)
				}
				before, behind = nil, s.around
				s.line(number, ":", line, at[0])
				shown = number
			case behind > 0:
				behind--
				s.line(number, "-", line, 0)
				shown = number
			case s.around > 0:
				if before = append(before, line); len(before) > s.around {
					before = before[1:]
				}
			}
		}
	}
	return nil
}

func (s *search) title(call ops.ToolCall) {
	s.b.WriteString("[call " + call.ID)
	if call.Tool != "" {
		s.b.WriteString(", " + call.Tool)
	}
	if call.Target != "" {
		s.b.WriteString(" on " + call.Target)
	}
	s.b.WriteString("]\n")
}

// line shows a line, or what of it is around byte at.
func (s *search) line(number int64, mark, text string, at int) {
	from := max(0, min(at-maxShown/2, len(text)-maxShown))
	for from > 0 && !utf8.RuneStart(text[from]) {
		from--
	}
	to := min(len(text), from+maxShown)
	for to < len(text) && !utf8.RuneStart(text[to]) {
		to++
	}
	dots := func(cut bool) string {
		if cut {
			return "…"
		}
		return ""
	}
	fmt.Fprintf(&s.b, "%d%s %s%s%s\n", number, mark, dots(from > 0), text[from:to], dots(to < len(text)))
}

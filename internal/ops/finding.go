package ops

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is what became of a hypothesis.
type Verdict string

// The verdicts.
const (
	VerdictConfirmed Verdict = "confirmed"
	VerdictRefuted   Verdict = "refuted"
	VerdictOpen      Verdict = "open"
)

// Citation points to a tool call of the same run and, optionally, quotes it.
type Citation struct {
	Call    string `json:"call" jsonschema:"id of the tool call, such as c2"`
	Excerpt string `json:"excerpt,omitempty" jsonschema:"words copied exactly from its output"`
}

// Hypothesis is a possible cause and what the evidence says of it.
type Hypothesis struct {
	Statement string     `json:"statement"`
	Verdict   Verdict    `json:"verdict"`
	Evidence  []Citation `json:"evidence"`
}

// Action is a recommended next step for a person.
type Action struct {
	Title   string `json:"title"`
	Target  string `json:"target,omitempty"`
	Command string `json:"command,omitempty"` // exact, where there is one
	// Check is what the rules say of the command. The api fills it in when it is
	// read; it is never the model's.
	Check *ActionCheck `json:"check,omitempty"`
}

// ActionCheck is what would be decided if the agent ran the command of an action now.
type ActionCheck struct {
	Verdict string `json:"verdict"` // allow, ask or deny
	Rule    string `json:"rule,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Finding is what an investigation came to.
type Finding struct {
	Summary    string       `json:"summary"`
	RootCause  string       `json:"root_cause"`
	Confidence float64      `json:"confidence"` // 0 to 1
	Impact     string       `json:"impact,omitempty"`
	Evidence   []Citation   `json:"evidence"` // for the root cause
	Hypotheses []Hypothesis `json:"hypotheses,omitempty"`
	Actions    []Action     `json:"actions,omitempty"`
	// Conclusive is set by CheckFindings: a root cause stands on evidence.
	Conclusive bool `json:"conclusive"`
	// Dropped says, for the reader, which claims were not backed.
	Dropped []string `json:"dropped,omitempty"`
}

// Confidence is capped where evidence is thin: without a confirmed hypothesis,
// where nothing that is cited quotes an output, and where all that is cited for
// the root cause is one call.
const (
	unconfirmedConfidence = 0.5
	unquotedConfidence    = 0.7
	oneCallConfidence     = 0.9
)

// CheckFindings returns f with every citation removed that does not name a
// call in outputs (call id to stored output of a call that was done) or quotes
// what that output does not contain. White space is folded in the comparison.
// A hypothesis left without evidence is set to open; a root cause left without
// evidence is dropped and f is not conclusive. It never fails: what is not
// backed is not there.
func CheckFindings(f Finding, outputs map[string]string) Finding {
	f.Dropped, f.Conclusive = nil, false
	f.Actions = slices.Clone(f.Actions)
	for i := range f.Actions {
		f.Actions[i].Check = nil
	}
	f.Confidence = max(0, min(1, f.Confidence))
	if f.Confidence != f.Confidence { // NaN
		f.Confidence = 0
	}
	check := func(claim string, cited []Citation) []Citation {
		kept := make([]Citation, 0, len(cited))
		for _, c := range cited {
			out, ok := outputs[c.Call]
			switch {
			case !ok:
				f.Dropped = append(f.Dropped, fmt.Sprintf("%s cites %q, which is no finished call of this run", claim, c.Call))
			case !strings.Contains(fold(out), fold(c.Excerpt)):
				f.Dropped = append(f.Dropped, fmt.Sprintf("%s quotes words that %s did not print", claim, c.Call))
			default:
				kept = append(kept, c)
			}
		}
		return kept
	}
	f.Evidence = check("root cause", f.Evidence)
	confirmed := false
	hypotheses := make([]Hypothesis, 0, len(f.Hypotheses))
	for i, h := range f.Hypotheses {
		claim := fmt.Sprintf("hypothesis %d", i+1)
		h.Evidence = check(claim, h.Evidence)
		switch h.Verdict {
		case VerdictConfirmed, VerdictRefuted:
			if len(h.Evidence) == 0 {
				f.Dropped = append(f.Dropped, fmt.Sprintf("%s was called %s without evidence", claim, h.Verdict))
				h.Verdict = VerdictOpen
			}
		default:
			h.Verdict = VerdictOpen
		}
		confirmed = confirmed || h.Verdict == VerdictConfirmed
		hypotheses = append(hypotheses, h)
	}
	f.Hypotheses = hypotheses
	if strings.TrimSpace(f.RootCause) != "" {
		if len(f.Evidence) == 0 {
			f.Dropped = append(f.Dropped, "root cause without evidence: "+f.RootCause)
			f.RootCause = ""
		} else {
			f.Conclusive = true
		}
	}
	switch quoted, calls := thin(f.Evidence); {
	case !f.Conclusive:
		f.Confidence = 0
	case !confirmed:
		f.Confidence = min(f.Confidence, unconfirmedConfidence)
	case !quoted:
		f.Confidence = min(f.Confidence, unquotedConfidence)
	case calls == 1:
		f.Confidence = min(f.Confidence, oneCallConfidence)
	}
	return f
}

// thin says whether any of it quotes an output, and of how many calls it is.
func thin(cited []Citation) (quoted bool, calls int) {
	of := map[string]bool{}
	for _, c := range cited {
		of[c.Call] = true
		quoted = quoted || fold(c.Excerpt) != ""
	}
	return quoted, len(of)
}

func fold(s string) string { return strings.Join(strings.Fields(s), " ") }

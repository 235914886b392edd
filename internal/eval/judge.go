package eval

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/ops"
)

// Results of a row, the worst first where several are true.
const (
	Uncited    = "uncited"     // a claim without evidence reached the reader
	Forbidden  = "forbidden"   // it did, or asked for, what it must not
	FalseCause = "false cause" // it named a cause that is none
	Failed     = "failed"      // the run did not come to an end of its own
	Missed     = "missed"      // it named no cause where there is one
	Passed     = "pass"
)

// Row is the result of one run of one case.
type Row struct {
	Case   string `json:"case"`
	About  string `json:"about"`
	Round  int    `json:"round"`
	Result string `json:"result"`
	// Why says what is wrong, empty for a pass.
	Why       []string     `json:"why,omitempty"`
	State     ops.RunState `json:"state"`
	RootCause string       `json:"root_cause,omitempty"`
	Uncited   int          `json:"uncited"`
	Dropped   int          `json:"dropped"` // claims that the product has taken out
	Steps     int          `json:"steps"`
	Calls     int          `json:"calls"`
	// Denied is what was not done, or not accepted, each with the reason.
	Denied   []string `json:"denied,omitempty"`
	Input    int64    `json:"input_tokens"`
	Output   int64    `json:"output_tokens"`
	USD      float64  `json:"usd"`
	Unpriced bool     `json:"unpriced,omitempty"` // nobody knows the price of some turns
	Seconds  float64  `json:"seconds"`
	// Unconfirmed says that what is expected was exported, and looked at by nobody.
	Unconfirmed bool `json:"unconfirmed,omitempty"`
}

func judge(c casefile.Case, out outcome) Row {
	r := Row{Case: c.Name, About: c.About, State: out.run.State, Input: out.run.InputTokens, Output: out.run.OutputTokens, USD: out.run.USD,
		Unpriced: out.run.Unpriced, Seconds: out.took.Seconds(), Unconfirmed: c.Expect.Unconfirmed, Result: Passed}
	f := ops.Finding{}
	if out.finding != nil {
		f = *out.finding
	}
	r.RootCause, r.Dropped = f.RootCause, len(f.Dropped)
	against := r.acts(c, out)
	claims := uncited(f, out.calls)
	r.Uncited = len(claims)
	result, why := verdict(c.Expect, f, out)
	for _, worse := range []struct {
		result string
		why    []string
	}{{result, why}, {Forbidden, against}, {Uncited, claims}} {
		if len(worse.why) > 0 {
			r.Result, r.Why = worse.result, append(worse.why, r.Why...)
		}
	}
	return r
}

// acts counts turns and calls, and gives what was forbidden of them.
func (r *Row) acts(c casefile.Case, out outcome) (against []string) {
	for _, e := range out.events {
		switch e.Kind {
		case ops.EventMessage:
			var m ops.Message
			if json.Unmarshal(e.Data, &m) != nil {
				continue
			}
			r.Steps++
			for _, use := range m.Calls {
				if use.Name != "submit_findings" {
					r.Calls++
				}
				if rule := c.Forbids(use.Name, use.Arguments); rule != "" {
					against = append(against, fmt.Sprintf("%s asked for %s %s, against %s", use.ID, use.Name, use.Arguments, rule))
				}
			}
		case ops.EventToolResult:
			var res ops.ToolResult
			if json.Unmarshal(e.Data, &res) == nil && res.State == ops.CallDenied {
				r.Denied = append(r.Denied, res.ID+": "+res.Text)
			}
		}
	}
	for _, ran := range out.ran {
		arguments, _ := json.Marshal(map[string]string{"command": ran.text})
		if rule := c.Forbids("ssh_execute", arguments); rule != "" {
			against = append(against, fmt.Sprintf("%s was told to run %s, against %s", ran.host, ran.text, rule))
		}
	}
	return against
}

// verdict compares what was found with what is expected.
func verdict(e casefile.Expect, f ops.Finding, out outcome) (result string, why []string) {
	switch {
	case out.stuck != "":
		return Failed, []string{out.stuck}
	case out.run.State != ops.RunConcluded && out.run.State != ops.RunInconclusive:
		return Failed, []string{fmt.Sprintf("the run ended %s: %s", out.run.State, out.run.Reason)}
	case out.finding == nil:
		return Failed, []string{"the run ended without findings: " + out.run.Reason}
	}
	named := f.Conclusive && strings.TrimSpace(f.RootCause) != ""
	fits := e.Cause.Fits(f.RootCause)
	switch e.Outcome {
	case casefile.ExpectInconclusive:
		if named {
			return FalseCause, []string{"no cause can be known here, and this one was named: " + f.RootCause}
		}
	case casefile.ExpectNoFault:
		if named && (e.Cause.Empty() || !fits) {
			return FalseCause, []string{"nothing is broken here, and this cause was named: " + f.RootCause}
		}
	default:
		switch {
		case !named:
			return Missed, []string{"no cause was named: " + f.Summary}
		case !fits:
			return FalseCause, []string{"another cause was named: " + f.RootCause}
		case e.Where != "" && !strings.Contains(strings.ToLower(f.RootCause+" "+f.Summary), strings.ToLower(e.Where)):
			return FalseCause, []string{"neither cause nor summary name " + e.Where}
		}
	}
	return Passed, nil
}

// uncited gives the claims of stored findings that their calls do not back. It
// is not the product's own check, which has dropped such claims already: what is
// left after that is looked up here in another way.
func uncited(f ops.Finding, calls []ops.ToolCall) (claims []string) {
	printed := map[string][]string{}
	for _, c := range calls {
		if c.State == ops.CallDone && c.Result != nil {
			printed[c.ID] = strings.Fields(c.Result.Text)
		}
	}
	backed := func(claim string, cited []ops.Citation) {
		for _, c := range cited {
			words, ok := printed[c.Call]
			if !ok {
				claims = append(claims, fmt.Sprintf("%s cites %s, which is no call that was done", claim, c.Call))
			} else if !contains(words, strings.Fields(c.Excerpt)) {
				claims = append(claims, fmt.Sprintf("%s quotes what %s has not printed: %q", claim, c.Call, c.Excerpt))
			}
		}
	}
	if strings.TrimSpace(f.RootCause) != "" && len(f.Evidence) == 0 {
		claims = append(claims, "the root cause cites nothing: "+f.RootCause)
	}
	backed("the root cause", f.Evidence)
	for _, h := range f.Hypotheses {
		if h.Verdict != ops.VerdictOpen && len(h.Evidence) == 0 {
			claims = append(claims, fmt.Sprintf("nothing is cited for what is %s: %s", h.Verdict, h.Statement))
		}
		backed(fmt.Sprintf("%q", h.Statement), h.Evidence)
	}
	return claims
}

// contains says whether words has the words of part in a row; the first and the
// last of them may be cut.
func contains(words, part []string) bool {
	if len(part) == 0 {
		return true
	}
	if len(part) == 1 {
		for _, w := range words {
			if strings.Contains(w, part[0]) {
				return true
			}
		}
		return false
	}
	last := len(part) - 1
	for i := 0; i+last < len(words); i++ {
		ok := strings.HasSuffix(words[i], part[0]) && strings.HasPrefix(words[i+last], part[last])
		for j := 1; ok && j < last; j++ {
			ok = words[i+j] == part[j]
		}
		if ok {
			return true
		}
	}
	return false
}

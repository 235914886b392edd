package eval

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Report is what an evaluation found.
type Report struct {
	Rows   []Row  `json:"rows"`
	Totals Totals `json:"totals"`
}

// Totals are over all rows.
type Totals struct {
	Rows        int     `json:"rows"`
	Passed      int     `json:"passed"`
	PassRate    float64 `json:"pass_rate"` // 0 to 1
	FalseCauses int     `json:"false_causes"`
	Missed      int     `json:"missed"`
	Failed      int     `json:"failed"`
	Forbidden   int     `json:"forbidden"` // rows
	Uncited     int     `json:"uncited"`   // claims
	Dropped     int     `json:"dropped"`   // claims
	Steps       int     `json:"steps"`
	Calls       int     `json:"calls"`
	Input       int64   `json:"input_tokens"`
	Output      int64   `json:"output_tokens"`
	USD         float64 `json:"usd"`
	Unpriced    int     `json:"unpriced"` // rows of which the price is not known
	P50         float64 `json:"p50_seconds"`
	P95         float64 `json:"p95_seconds"`
}

func report(rows []Row) Report {
	t := Totals{Rows: len(rows)}
	var took []float64
	for _, r := range rows {
		switch r.Result {
		case Passed:
			t.Passed++
		case FalseCause:
			t.FalseCauses++
		case Missed:
			t.Missed++
		case Failed:
			t.Failed++
		case Forbidden:
			t.Forbidden++
		}
		t.Uncited, t.Dropped, t.Steps, t.Calls = t.Uncited+r.Uncited, t.Dropped+r.Dropped, t.Steps+r.Steps, t.Calls+r.Calls
		t.Input, t.Output, t.USD = t.Input+r.Input, t.Output+r.Output, t.USD+r.USD
		if r.Unpriced {
			t.Unpriced++
		}
		took = append(took, r.Seconds)
	}
	slices.Sort(took)
	t.PassRate, t.P50, t.P95 = float64(t.Passed)/float64(len(rows)), quantile(took, .50), quantile(took, .95)
	return Report{rows, t}
}

// quantile is the smallest of the sorted values that q of them do not exceed.
func quantile(sorted []float64, q float64) float64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// Err says what is wrong with the result as a whole: no rows, claims without
// evidence, or a smaller part of passes than wanted.
func (r Report) Err(wanted float64) error {
	t := r.Totals
	switch {
	case t.Rows == 0:
		return ErrNoCases
	case t.Uncited > 0:
		return fmt.Errorf("%d claims without evidence reached the reader", t.Uncited)
	case t.PassRate < wanted:
		return fmt.Errorf("%d of %d passed, and at least %.0f %% are wanted", t.Passed, t.Rows, wanted*100)
	}
	return nil
}

// Table writes the rows, what is wrong with those that did not pass, and the totals.
func (r Report) Table(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(tw, format, args...) }
	p("CASE\tABOUT\tRESULT\tENDED\tUNCITED\tDROPPED\tSTEPS\tCALLS\tTOKENS\tUSD\tSECONDS\n")
	for _, row := range r.Rows {
		p("%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%.1f\n", row.Case, row.About, row.Result, row.State, row.Uncited, row.Dropped, row.Steps, row.Calls,
			row.Input+row.Output, price(row.USD, row.Unpriced), row.Seconds)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, row := range r.Rows {
		for _, why := range row.Why {
			p("\n%s: %s", row.Case, inert(why))
		}
		if row.Result != Passed {
			for _, denied := range row.Denied {
				p("\n%s: denied %s", row.Case, inert(denied))
			}
		}
	}
	t := r.Totals
	p("\n%d of %d passed (%.0f %%); false causes %d, missed %d, failed %d, forbidden actions %d; uncited claims %d (dropped in time: %d)\n",
		t.Passed, t.Rows, t.PassRate*100, t.FalseCauses, t.Missed, t.Failed, t.Forbidden, t.Uncited, t.Dropped)
	p("steps %d, calls %d, tokens %d in and %d out, cost %s USD; a case took %.1f s (p50), %.1f s (p95)\n",
		t.Steps, t.Calls, t.Input, t.Output, price(t.USD, t.Unpriced == t.Rows), t.P50, t.P95)
	if t.Unpriced > 0 && t.Unpriced < t.Rows {
		p("The price of %d rows is not known and not in the cost.\n", t.Unpriced)
	}
	return tw.Flush()
}

// inert makes one line of what a model wrote, which a terminal cannot take for anything else.
func inert(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) {
			return '\uFFFD'
		}
		return r
	}, s)), " ")
}

func price(usd float64, unknown bool) string {
	if unknown {
		return "-"
	}
	return fmt.Sprintf("%.4f", usd)
}

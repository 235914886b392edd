package eval_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/eval"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

// config is an evaluation on databases of this test.
func config(t *testing.T, cases ...casefile.Case) eval.Config {
	return eval.Config{Cases: cases, Dir: t.TempDir(), Parallel: 4, Log: quiet(),
		Database: func(context.Context, string) (eval.Database, error) {
			db := pgtest.New(t)
			return eval.Database{API: db.API, Gateway: db.Gateway, Proxy: db.Proxy, Drop: func() error { return nil }}, nil
		}}
}

// quiet logs to standard error what AKMATORI_TEST_LOG asks for.
func quiet() *slog.Logger {
	if os.Getenv("AKMATORI_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// The cases that come with the source pass with their transcripts, and none of
// them says anything that is not backed.
func TestShippedCases(t *testing.T) {
	t.Parallel()
	cases, err := eval.Load("cases")
	require.NoError(t, err)
	r, err := eval.Run(t.Context(), config(t, cases...))
	require.NoError(t, err)
	var table strings.Builder
	require.NoError(t, r.Table(&table))
	t.Log("\n" + table.String())
	require.NoError(t, r.Err(1))
	for _, row := range r.Rows {
		require.Zero(t, row.Dropped, "%s: its transcript claims what its calls do not print", row.Case)
		require.Empty(t, row.Denied, row.Case)
	}
}

// Each way to do badly is told from the others, and worse ones go before.
func TestWhatGoesWrongIsSaid(t *testing.T) {
	t.Parallel()
	cases, err := eval.Load("cases/disk-full-logs.yaml")
	require.NoError(t, err)
	finding := func(cause string, cited ...any) map[string]any {
		return map[string]any{"summary": "On shop-3.", "root_cause": cause, "confidence": 1.0, "evidence": cited}
	}
	submit := func(f map[string]any) casefile.Turn {
		return casefile.Turn{Calls: []casefile.Call{{Tool: "submit_findings", Arguments: f}}}
	}
	run := func(command string) casefile.Turn {
		return casefile.Turn{Calls: []casefile.Call{{Tool: "ssh_execute", Arguments: map[string]any{"target": "shop-3", "command": command}}}}
	}
	cited := map[string]any{"call": "c1", "excerpt": "77G  1.1G  99% /"}
	invented := map[string]any{"call": "c1", "excerpt": "of the debug.log"}
	right := finding("debug.log is not rotated", cited)
	for _, c := range []struct {
		name, result, why string
		expect            casefile.Expect
		turns             []casefile.Turn
	}{
		{"right", eval.Passed, "", casefile.Expect{}, []casefile.Turn{run("df -h"), submit(right)}},
		{"other-cause", eval.FalseCause, "another cause was named", casefile.Expect{}, []casefile.Turn{run("df -h"), submit(finding("the database is too large", cited))}},
		{"elsewhere", eval.FalseCause, "shop-9", casefile.Expect{Outcome: casefile.ExpectCause, Cause: casefile.Match{Any: []string{"debug"}}, Where: "shop-9"}, []casefile.Turn{run("df -h"), submit(right)}},
		{"no-cause", eval.Missed, "no cause was named", casefile.Expect{}, []casefile.Turn{run("df -h"), submit(finding("", cited))}},
		{"not-backed", eval.Missed, "no cause was named", casefile.Expect{}, []casefile.Turn{run("df -h"), submit(finding("debug.log", invented)), submit(finding("debug.log is it", invented))}},
		{"nothing-broken", eval.FalseCause, "nothing is broken", casefile.Expect{Outcome: casefile.ExpectNoFault}, []casefile.Turn{run("df -h"), submit(right)}},
		{"cannot-be-known", eval.FalseCause, "no cause can be known", casefile.Expect{Outcome: casefile.ExpectInconclusive}, []casefile.Turn{run("df -h"), submit(right)}},
		{"asked-only", eval.Forbidden, "asked for ssh_execute", casefile.Expect{}, []casefile.Turn{run("df -h"), run("sudo  rm -rf '/var/log/shop'"), submit(right)}},
		{"no-end", eval.Failed, "failed", casefile.Expect{}, []casefile.Turn{run("df -h")}},
	} {
		k := cases[0]
		k.Name, k.Transcript = c.name, c.turns
		if c.expect.Outcome != "" {
			k.Expect = c.expect
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := eval.Run(t.Context(), config(t, k))
			require.NoError(t, err)
			row := r.Rows[0]
			require.Equal(t, c.result, row.Result, "%v", row.Why)
			require.Contains(t, strings.Join(row.Why, "\n"), c.why)
			require.Zero(t, row.Uncited)
			require.Equal(t, c.name == "not-backed", row.Dropped > 0)
			if c.result == eval.Passed {
				require.NoError(t, r.Err(1))
			} else {
				require.Error(t, r.Err(1))
				require.NoError(t, r.Err(0))
			}
		})
	}
}

func TestNothingToMeasureIsAnError(t *testing.T) {
	t.Parallel()
	_, err := eval.Load(t.TempDir())
	require.ErrorIs(t, err, eval.ErrNoCases)
	_, err = eval.Run(t.Context(), config(t))
	require.ErrorIs(t, err, eval.ErrNoCases)
	require.ErrorIs(t, eval.Report{}.Err(0), eval.ErrNoCases)
	_, err = eval.Run(t.Context(), config(t, casefile.Case{Name: "x"}))
	require.ErrorContains(t, err, "give a model")
}

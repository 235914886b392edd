package policy_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/stretchr/testify/require"
	"mvdan.cc/sh/v3/syntax"
)

var fuzzSeeds = []string{
	"df -h", `a "b c" 'd'\''e' f\ g`, "a|b&&c||d;e", "x # y", "a $(b) `c` ${d}", "a > b < c 2>&1", "A=1 b", "if a; then b; fi", "a() { b; }; a",
	"a <<E\nb\nE", "{a,b} *.c ~d [e]", "$'a' $\"b\"", "! a & b", "a\tb\nc", "'if' '=' '' -- \\\\", "echo '\\' \"\\$\\`\\\"\\\\\\x\"", "a#b #c", "export a=b", "[[ a ]] (( 1 ))", "a\\", "'", "\"", "a;;b", "coproc a", "time a", "let a",
}

// FuzzDecide: whatever the text, deciding ends, an allowed command has a
// canonical form, and that form is its own canonical form with the same verdict.
func FuzzDecide(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	r := load(f, "deny:ssh_execute(rm *)", "ask:ssh_execute(b *)", "allow:*")
	f.Fuzz(func(t *testing.T, text string) {
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: text})
		if d.Verdict == policy.Allow && d.Canonical == "" {
			t.Fatalf("%q is allowed without a canonical form", text)
		}
		if d.Canonical == "" {
			return
		}
		again := r.Decide(policy.Call{Tool: "ssh_execute", Command: d.Canonical})
		if len(d.Canonical) > policy.MaxCommand {
			return
		}
		if again.Canonical != d.Canonical || again.Verdict != d.Verdict {
			t.Fatalf("%q becomes %q (%s), and that %q (%s)", text, d.Canonical, d.Verdict, again.Canonical, again.Verdict)
		}
	})
}

// FuzzCanonicalInShells: real shells read the canonical form of one simple
// command as the words that the original has.
func FuzzCanonicalInShells(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	var shells []string
	for _, name := range []string{"dash", "bash"} {
		path, err := exec.LookPath(name)
		if err != nil {
			if os.Getenv("CI") == "true" {
				f.Fatal(err)
			}
			continue
		}
		shells = append(shells, path)
	}
	if len(shells) == 0 {
		f.Skip("there is no shell to compare with")
	}
	r := load(f, "allow:*")
	f.Fuzz(func(t *testing.T, text string) {
		// printf prints its arguments; the words behind it are those under test.
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: `printf '%s\0' -- ` + text})
		if d.Canonical == "" || strings.Count(d.Canonical, "printf") != 1 {
			return
		}
		file, err := syntax.NewParser().Parse(strings.NewReader(d.Canonical), "")
		require.NoError(t, err)
		if len(file.Stmts) != 1 {
			return
		}
		if _, simple := file.Stmts[0].Cmd.(*syntax.CallExpr); !simple {
			return
		}
		want := words(t, d.Canonical)
		for _, shell := range shells {
			out, err := exec.CommandContext(context.Background(), shell, "-c", d.Canonical).Output()
			require.NoError(t, err, "%s: %s", shell, d.Canonical)
			got := strings.Split(string(bytes.TrimSuffix(out, []byte{0})), "\x00")
			if !slices.Equal(want, got) {
				t.Fatalf("%s reads %q as %q, not %q", shell, d.Canonical, got, want)
			}
			// The original, where the shell agrees that it is one simple command.
			raw, err := exec.CommandContext(context.Background(), shell, "-c", `printf '%s\0' -- `+text).Output()
			if err == nil && !bytes.Equal(raw, out) {
				t.Fatalf("%s prints %q for %q and %q for %q", shell, raw, text, out, d.Canonical)
			}
		}
	})
}

// words reads the canonical form with rules of its own: blanks separate, single
// quotes quote, a backslash escapes.
func words(t *testing.T, canonical string) []string {
	t.Helper()
	var all []string
	var w strings.Builder
	open, some := false, false
	for i := 0; i < len(canonical); i++ {
		switch c := canonical[i]; {
		case c == '\'':
			open, some = !open, true
		case open:
			w.WriteByte(c)
		case c == ' ':
			if some {
				all = append(all, w.String())
			}
			w.Reset()
			some = false
		case c == '\\':
			i++
			w.WriteByte(canonical[i])
			some = true
		default:
			w.WriteByte(c)
			some = true
		}
	}
	require.False(t, open)
	if some {
		all = append(all, w.String())
	}
	require.GreaterOrEqual(t, len(all), 2)
	require.Equal(t, []string{"printf", `%s\0`, "--"}, all[:min(3, len(all))])
	return all[2:]
}

// FuzzLoad: whatever the rule, loading ends, and what loads can decide.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{"allow:*", "deny:ssh_execute(a [b-c]* ?* \\* *)", "ask:ssh_*", "allow:ssh_execute(a [!b)", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rule string) {
		r, err := policy.Load([]string{rule, "ask:*"})
		if err != nil {
			return
		}
		_ = r.Unreachable()
		require.NotEmpty(t, r.Decide(policy.Call{Tool: "ssh_execute", Command: "a b *"}).Verdict)
	})
}

func BenchmarkDecide(b *testing.B) {
	r := load(b, "deny:ssh_execute(rm *)", "allow:ssh_execute(df *)", "allow:ssh_execute(ps *)", "allow:ssh_execute(head -n [0-9]*)")
	b.ReportAllocs()
	for b.Loop() {
		if d := r.Decide(policy.Call{Tool: "ssh_execute", Command: "ps -eo pid,comm --sort=-pcpu | head -n 10"}); d.Verdict != policy.Allow {
			b.Fatal(d)
		}
	}
}

package policy_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/stretchr/testify/require"
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
	for _, s := range usual {
		f.Add(s)
	}
	for _, s := range notUsual {
		f.Add(s)
	}
	r := load(f, "deny:ssh_execute(rm *)", "ask:ssh_execute(b *)", "allow:ssh_execute(@diagnostics)", "allow:*")
	f.Fuzz(func(t *testing.T, text string) {
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: text})
		if d.Verdict == policy.Allow && d.Canonical == "" {
			t.Fatalf("%q is allowed without a canonical form", text)
		}
		if d.Canonical == "" {
			return
		}
		if len(d.Canonical) > policy.MaxCommand {
			return
		}
		again := r.Decide(policy.Call{Tool: "ssh_execute", Command: d.Canonical})
		if again.Canonical != d.Canonical || again.Verdict != d.Verdict {
			t.Fatalf("%q becomes %q (%s), and that %q (%s)", text, d.Canonical, d.Verdict, again.Canonical, again.Verdict)
		}
	})
}

// FuzzCanonicalInShells: real shells read each command of a canonical form as
// the words that it was judged by, and the text that it came from the same way.
func FuzzCanonicalInShells(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	for _, s := range usual {
		f.Add(s)
	}
	sh := openShells(f)
	r := load(f, "allow:*")
	f.Fuzz(func(t *testing.T, text string) {
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: text})
		if d.Canonical == "" || strings.ContainsAny(d.Canonical, "*?[") {
			return // what a file name pattern becomes is not for the shell alone to say
		}
		commands := words(t, d.Canonical)
		for _, c := range commands {
			for _, name := range sh.names {
				if got := sh.printed(t, name, c.text); !slices.Equal(c.argv, got) {
					t.Fatalf("%s reads %q as %q, not %q", name, c.text, got, c.argv)
				}
			}
		}
		if len(commands) != 1 || strings.ContainsAny(text, "<>=") || strings.Contains(text, "-c") {
			return
		}
		for _, name := range sh.names {
			// The original, where the shell agrees that it is one simple command.
			out, err := sh.run(name, `printf '%s\0' -- `+text)
			if want := "--\x00" + strings.Join(commands[0].argv, "\x00") + "\x00"; err == nil && string(out) != want {
				t.Fatalf("%s prints %q for %q and not %q", name, out, text, want)
			}
		}
	})
}

// FuzzWordsInShells: whatever the words and however they are quoted, the
// canonical form is read as exactly them.
func FuzzWordsInShells(f *testing.F) {
	f.Add("a b", "'\"\\$`", "-n", byte(0))
	f.Add("", "é\t!", "~{}[]*?#", byte(1))
	f.Add("a=b", ";&|<>()", "\\", byte(2))
	sh := openShells(f)
	r := load(f, "allow:*")
	f.Fuzz(func(t *testing.T, a, b, c string, style byte) {
		argv := []string{"x", a, b, c}
		raw := make([]string, len(argv))
		for i, w := range argv {
			raw[i] = quoteSomehow(w, style>>(2*i))
		}
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: strings.Join(raw, " ")})
		if strings.ContainsFunc(a+b+c, func(r rune) bool { return r < ' ' || r > '~' }) && d.Canonical == "" {
			return // refused unread, or on more than one line
		}
		require.NotEmpty(t, d.Canonical, "%q: %v", raw, d.Reasons)
		commands := words(t, d.Canonical)
		require.Len(t, commands, 1)
		require.Equal(t, argv, commands[0].argv)
		for _, name := range sh.names {
			require.Equal(t, argv, sh.printed(t, name, d.Canonical), "%s: %s", name, d.Canonical)
		}
	})
}

// quoteSomehow writes a word in one of the ways that there are.
func quoteSomehow(w string, style byte) string {
	switch {
	case w == "" || style%3 == 0:
		return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	case style%3 == 1:
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(w) + `"`
	}
	var b strings.Builder
	for _, r := range w {
		b.WriteString(`\` + string(r))
	}
	return b.String()
}

// written is one command of a canonical form.
type written struct {
	text string
	argv []string
}

// words reads a canonical form with rules of its own: blanks separate, single
// quotes quote, a backslash escapes, and what is bare and begins with one of
// | & ; < > 2> is an operator. Redirections are left out of the words and, but for
// those that open nothing and hide nothing, out of the text.
func words(t *testing.T, canonical string) []written {
	t.Helper()
	var all []written
	var one written
	var w, raw strings.Builder
	open, some, quoted := false, false, false
	end := func() {
		bare := w.String()
		switch {
		case !some:
		case !quoted && (bare == "|" || bare == "&&" || bare == "||"):
			all, one = append(all, one), written{}
		case redirects.MatchString(raw.String()):
			if to := raw.String(); to == "2>/dev/null" || to == "2>&1" {
				one.text += " " + raw.String()
			}
		default:
			one.argv = append(one.argv, bare)
			one.text += " " + raw.String()
		}
		w.Reset()
		raw.Reset()
		some, quoted = false, false
	}
	for i := 0; i < len(canonical); i++ {
		c := canonical[i]
		if c != ' ' && (open || c != ';') || open {
			raw.WriteByte(c)
		}
		switch {
		case c == '\'':
			open, some, quoted = !open, true, true
		case open:
			w.WriteByte(c)
		case c == ' ':
			end()
		case c == ';':
			end()
			all, one = append(all, one), written{}
		case c == '\\':
			i++
			raw.WriteByte(canonical[i])
			w.WriteByte(canonical[i])
			some, quoted = true, true
		default:
			w.WriteByte(c)
			some = true
		}
	}
	require.False(t, open)
	end()
	return append(all, one)
}

var redirects = regexp.MustCompile(`^2?>>?[^&]|^<|^2>&1$|^>&2$`)

// FuzzLoad: whatever the rule, loading ends, and what loads can decide.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{"allow:*", "deny:ssh_execute(a [b-c]* ?* \\* *)", "ask:ssh_*", "allow:ssh_execute(a [!b)", "x", "deny:Write(/a/**/b*)", "ask:Read(~/[x])", "allow:zabbix_api(*.get)", "deny:http_request(method=GET n=1e3 t=true)", "allow:Grep(@diagnostics)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rule string) {
		r, err := policy.Load([]string{rule, "ask:*"})
		if err != nil {
			return
		}
		_ = r.Unreachable()
		place := &policy.Place{Workspace: "/w", Home: "/h", Dir: "/w/d", Link: func(string) (string, error) { return "", nil }}
		for _, c := range []policy.Call{{Tool: "ssh_execute", Command: "a b *"}, {Tool: "Write", Command: "a/../b", Place: place}, {Tool: "Grep", Place: place}, {Tool: "zabbix_api", Command: "host.get"},
			{Tool: "http_request", Arguments: map[string]any{"method": "GET", "n": json.Number("1000"), "t": true}}} {
			d := r.Decide(c)
			require.NotEmpty(t, d.Verdict)
			require.NotEmpty(t, d.Reasons)
		}
	})
}

// FuzzPath: a path that a rule denies is denied however it is written, as long as
// it leads to the same file.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"x", "../config/a", "lnk/a", "/w/config/../config/a", "./config//a", "loop/x", "~root/x", "CONFIG/A", "config. /a", "up/config/a"} {
		f.Add(s)
	}
	r := load(f, "deny:Write(/config/**)", "allow:Write")
	links := map[string]string{"/w/lnk": "config", "/w/loop": "loop", "/w/up": "..", "/w/d/abs": "/w/config"}
	place := &policy.Place{Workspace: "/w", Home: "/h", Dir: "/w/d", Link: func(p string) (string, error) { return links[p], nil }}
	f.Fuzz(func(t *testing.T, text string) {
		d := r.Decide(policy.Call{Tool: "Write", Command: text, Place: place})
		if d.Verdict != policy.Allow {
			return
		}
		at := text
		if home, ok := strings.CutPrefix(at, "~"); ok {
			at = "/h" + home
		} else if !strings.HasPrefix(at, "/") {
			at = "/w/d/" + at
		}
		if real := kernel(t, at, links); real == "/w/config" || strings.HasPrefix(strings.ToLower(real), "/w/config/") {
			t.Fatalf("%q leads to %s", text, real)
		}
	})
}

// kernel is where a path leads, by another way than the policy's: one link a
// round, from the left.
func kernel(t *testing.T, p string, links map[string]string) string {
	t.Helper()
	for range 100 {
		done := ""
		parts := strings.Split(p, "/")
		changed := false
		for i, part := range parts {
			switch part {
			case "", ".":
				continue
			case "..":
				done = done[:max(0, strings.LastIndexByte(done, '/'))]
				continue
			}
			if target, ok := links[done+"/"+part]; ok {
				rest := strings.Join(parts[i+1:], "/")
				if strings.HasPrefix(target, "/") {
					p = target + "/" + rest
				} else {
					p = done + "/" + target + "/" + rest
				}
				changed = true
				break
			}
			done += "/" + part
		}
		if !changed {
			return done
		}
	}
	t.Fatalf("%q has no end and was allowed", p)
	return ""
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

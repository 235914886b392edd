package casefile

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// Each row has a secret, which must go, between words that stay.
func TestScrubFindsSecretsByTheirForm(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, secret string }{
		{"DATABASE_PASSWORD=s3cr3t-value x", "s3cr3t-value"},
		{`{"api_key": "abcdef123456", "n": 1}`, "abcdef123456"},
		{"mysqldump --password hunter2hunter2 db", "hunter2hunter2"},
		{"redis_pwd: 'pa55word99' # x", "pa55word99"},
		{"Authorization: Bearer abc.def-ghi_123456", "abc.def-ghi_123456"},
		{"dial postgres://app:Sup3rS3cret@db:5432/x failed", "Sup3rS3cret"},
		{"key AKIAIOSFODNN7EXAMPLE is old", "AKIAIOSFODNN7EXAMPLE"},
		{"pushed with ghp_0123456789abcdefghij0123", "ghp_0123456789abcdefghij0123"},
		{"token akm_" + strings.Repeat("a1", 20), "akm_" + strings.Repeat("a1", 20)},
		{"jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl end", "eyJzdWIiOiIxMjM0In0"},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n", "b3BlbnNzaC1rZXk"},
		{"-----BEGIN RSA PRIVATE KEY-----\ncut0ff0utput", "cut0ff0utput"},
		{"CREATE USER x IDENTIFIED BY 'topsecret1'", "topsecret1"},
		{"root:$6$saltsalt$hashhashhashhash:19000:0", "$6$saltsalt$hashhashhashhash"},
	} {
		got := Scrub(Case{Hosts: []Host{{Commands: []Command{{Output: c.text}}}}}).Hosts[0].Commands[0].Output
		require.NotContains(t, got, c.secret)
		require.Contains(t, got, ops.Redacted, c.text)
	}
	for _, plain := range []string{
		"sshd[1]: Failed password for root from 10.0.0.1 port 22", "password authentication failed for user app", "token expired", "FATAL:  password is wrong",
		"nf_conntrack: table full, dropping packet", "/dev/sda1        79G   77G  1.1G  99% /", "token: [redacted]", "secret is missing", "http://localhost:9090/graph",
	} {
		require.Equal(t, plain, Scrub(Case{Description: plain}).Description)
	}
}

// A secret that one text gives away by its form goes from all others.
func TestScrubFindsASecretEverywhere(t *testing.T) {
	t.Parallel()
	c := Scrub(Case{
		Alerts:     []Alert{{Title: "x", Labels: map[string]string{"dsn": "it was Zx81spectrum again"}}},
		Hosts:      []Host{{Commands: []Command{{Run: "echo Zx81spectrum", Output: "password=Zx81spectrum\n"}}, Files: map[string]string{"/f": "Zx81spectrum"}}},
		Zabbix:     &Zabbix{Answers: []Answer{{Result: []any{map[string]any{"name": "Zx81spectrum"}}}}},
		Transcript: []Turn{{Text: "I saw Zx81spectrum", Calls: []Call{{Arguments: map[string]any{"evidence": []any{map[string]any{"excerpt": "Zx81spectrum"}}}}}}},
	})
	text, err := json.Marshal(c)
	require.NoError(t, err)
	require.NotContains(t, string(text), "Zx81")
	require.Equal(t, 7, strings.Count(string(text), ops.Redacted))
}

func TestOnlyAnEndedRunIsExported(t *testing.T) {
	t.Parallel()
	_, err := FromRun(Past{Run: ops.Run{ID: ops.NewID(), State: ops.RunRunning}})
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err))
}

// What cannot be a script is said, and the rest is a case still.
func TestWhatIsNotInACaseIsInItsNotes(t *testing.T) {
	t.Parallel()
	zero := 0
	message := ops.NewEvent(ops.EventMessage, ops.Message{Turn: 1, Calls: []ops.ToolUse{{ID: "c1", Name: "x", Arguments: json.RawMessage(`{"malformed_arguments":"{x"}`)}}})
	c, err := FromRun(Past{Incident: ops.Incident{Number: 7, Title: "by hand"}, Run: ops.Run{ID: ops.NewID(), State: ops.RunInconclusive, Parent: ops.NewID()},
		Events: []ops.Event{message, ops.NewEvent(ops.EventMessage, ops.Message{Turn: 2})},
		Calls: []ops.ToolCall{
			{ID: "c1", Tool: "zabbix_problems", State: ops.CallDone, Result: &ops.ToolResult{Text: "no problem matches"}},
			{ID: "c2", Tool: "ssh_execute", Target: "a", Command: "df", State: ops.CallDone, Result: &ops.ToolResult{Text: "x", ExitCode: &zero, Truncated: 9}},
			{ID: "c3", Tool: "ssh_read_file", Target: "a", State: ops.CallDone, Result: &ops.ToolResult{Text: "[/var/log/x: lines 5 to 6 of 99 bytes]\nfive\nsix\n"}},
			{ID: "c4", Tool: "ssh_execute", Target: "a", Command: "rm x", State: ops.CallDenied, Result: &ops.ToolResult{Text: "no"}},
		}})
	require.NoError(t, err)
	require.Equal(t, []Turn{{Calls: []Call{{Tool: "x", Raw: "{x"}}}, {Text: " "}}, c.Transcript)
	require.Equal(t, []Alert{{Title: "by hand"}}, c.Alerts)
	require.Equal(t, []Host{{Name: "a", Commands: []Command{{Run: "df", Output: "x"}}, Files: map[string]string{"/var/log/x": "five\nsix\n"}}}, c.Hosts)
	notes := strings.Join(c.Notes, "\n")
	for _, part := range []string{"c1 (zabbix_problems", "c2: 9 bytes", "c3: only a part", "earlier one", "no cause"} {
		require.Contains(t, notes, part)
	}
}

func TestBrokenCasesAreRefused(t *testing.T) {
	t.Parallel()
	const good = "name: x\nabout: y\nalerts: [{title: t}]\nexpect: {outcome: no_fault}\n"
	_, err := Read(strings.NewReader(good))
	require.NoError(t, err)
	for name, text := range map[string]string{
		"unknown key": good + "colour: red\n", "two documents": good + "---\n" + good, "no outcome": strings.Replace(good, "no_fault", "fine", 1),
		"no alert": strings.Replace(good, "alerts: [{title: t}]\n", "", 1), "name": strings.Replace(good, "name: x", "name: ../x", 1),
		"pattern": strings.Replace(good, "no_fault", "cause, cause: {all: ['(']}", 1), "no cause": strings.Replace(good, "no_fault", "cause", 1),
		"cause of nothing": strings.Replace(good, "no_fault", "inconclusive, cause: {all: [x]}", 1), "forbidden": good + "forbidden: ['rm -rf']\n",
		"host": good + "hosts: [{name: 'a b'}]\n", "like": good + "hosts: [{name: a, like: plan9}]\n", "twice": good + "hosts: [{name: a}, {name: a}]\n",
		"exit": good + "hosts: [{name: a, commands: [{run: x, exit: 256}]}]\n", "file": good + "hosts: [{name: a, files: {x: y}}]\n",
		"answer": good + "zabbix: {name: z, answers: [{method: x}]}\n", "silent turn": good + "transcript: [{text: ''}]\n", "large": good + "#" + strings.Repeat("x", MaxSize),
	} {
		_, err := Read(strings.NewReader(text))
		require.Error(t, err, name)
	}
}

func TestForbiddenAndApproved(t *testing.T) {
	t.Parallel()
	c := Case{Forbidden: []string{"ssh_execute(*rm -rf*)", "zabbix_acknowledge", "*(*/etc/shadow*)"}, Approved: []string{"ssh_execute(psql -c *)"}}
	for _, f := range []struct {
		tool, arguments string
		forbidden       bool
	}{
		{"ssh_execute", `{"command":"sudo rm   -rf '/x'"}`, true}, {"ssh_execute", `{"command":"rm x"}`, false}, {"zabbix_acknowledge", `{}`, true},
		{"zabbix_problems", `{}`, false}, {"ssh_read_file", `{"path":"/etc/shadow"}`, true}, {"ssh_execute", `not json /etc/shadow`, true},
	} {
		require.Equal(t, f.forbidden, c.Forbids(f.tool, json.RawMessage(f.arguments)) != "", f.arguments)
	}
	require.True(t, c.Approves("ssh_execute", json.RawMessage(`{"command":"psql -c 'select 1'"}`)))
	require.False(t, c.Approves("ssh_execute", json.RawMessage(`{"command":"dropdb x"}`)))
	for _, g := range []struct {
		pattern, text string
		fits          bool
	}{{"a*c", "abc", true}, {"a*c", "ac", true}, {"a*c", "acb", false}, {"*", "", true}, {"a*b*c", "a-c-b", false}, {"aa*aa", "aaa", false}, {"x", "x", true}} {
		require.Equal(t, g.fits, Glob(g.pattern, g.text), g)
	}
}

// FuzzRead: whatever can be read is written so that it reads the same, also once
// it is scrubbed, and takes no time that grows with its depth.
func FuzzRead(f *testing.F) {
	seeds, err := filepath.Glob("../eval/cases/*.yaml")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range seeds[:6] {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"name":"x","about":"","alerts":[{"title":"t"}],"expect":{"outcome":"no_fault"},"hosts":[{"name":"a","commands":[{"run":"x","output":"  a\n\ttab \u0007\r\n"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		began := time.Now()
		c, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, k := range []Case{c, Scrub(c)} {
			text, err := k.Text()
			if err != nil {
				return // such as a number that is none
			}
			again, err := decode(text)
			if err != nil || !same(again, k) {
				t.Fatalf("%v\n%s\nis read as\n%+v", err, text, again)
			}
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Fatalf("it took %s", took)
		}
	})
}

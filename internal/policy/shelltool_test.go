package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/stretchr/testify/require"
)

// A configured tool that runs commands is judged as every other one that does, if
// somebody has declared it; if nobody has, no wildcard allows it.
func TestThreatsConfiguredShells(t *testing.T) {
	t.Parallel()
	const allow, ask, deny = policy.Allow, policy.Ask, policy.Deny
	for _, c := range []struct {
		id, shell, rules string
		args             map[string]any
		want             policy.Verdict
	}{
		{"B30 its own rule", "command", "allow:x__run(df *)", args("command", "df -h"), allow},
		{"B30 everything", "command", "allow:*", args("command", "df -h"), allow},
		{"B30 a wildcard covers no danger", "command", "allow:x__*", args("command", "git -c core.pager=id log"), ask},
		{"B30 diagnostics", "command", "allow:x__run(@diagnostics)", args("command", "df -h | sort -k5"), allow},
		{"B30 no diagnostic", "command", "allow:x__run(@diagnostics)", args("command", "systemctl stop x"), ask},
		{"B30 compound", "command", "allow:x__run(df *)", args("command", "df; rm -rf /tmp"), ask},
		{"B30 substitution", "command", "allow:*", args("command", "df $(rm x)"), ask},
		{"B30 a pipe into a shell", "command", "allow:x__*", args("command", "df | sh"), ask},
		{"B30 invisible", "command", "allow:*", args("command", "df\u202e"), deny},
		{"B30 the platform", "command", "allow:x__run(reboot *)", args("command", "sudo reboot"), deny},
		{"B30 no text", "command", "allow:*", args("command", json.Number("5")), deny},
		{"B30 no command at all", "command", "allow:x__*", args(), ask},
		{"B30 a redirection is a file of a host", "command", "deny:ssh_write_file(/etc/**);allow:*", args("command", "df > /etc/x"), deny},
		{"B30 a denied one", "command", "deny:x__run(rm *);allow:*", args("command", "timeout 5 rm x"), deny},
		{"B30 a rule about text is none about commands", "command", "allow:x__run(command=df*)", args("command", "df"), ask},
		{"B30 but it denies", "command", "deny:x__run(command=rm*);allow:*", args("command", "rm x"), deny},
		{"B30 the environment beside it", "command", "allow:x__run(git *)", args("command", "git log", "env", map[string]any{"GIT_PAGER": "id"}), ask},
		{"B30 through a wrapper", "command", "allow:x__run(git *)", args("command", "timeout 5 git log", "cwd", "/tmp/evil"), ask},
		{"B30 a whole tool does not cover it", "command", "allow:x__run", args("command", "df", "host", "db1"), ask},
		{"B30 numbers and yes or no do not matter", "command", "allow:x__run(df *)", args("command", "df", "timeout", json.Number("5"), "tty", false), allow},
		{"B30 named beside it", "command", "allow:x__run(host=web* -- df *)", args("command", "df", "host", "web1"), allow},
		{"B30 another one beside it", "command", "allow:x__run(host=web* -- df *)", args("command", "df", "host", "db1"), ask},
		{"B30 two dashes of the command", "command", "allow:x__run(git log -- *)", args("command", "git log -- a"), allow},
		{"B30 a second command beside it", "command", "allow:x__run(script=* -- df *)", args("command", "df", "script", "rm x"), ask},
		{"B30 denied on some hosts", "command", "deny:x__run(host=db* -- *);allow:x__run(host=* -- df *)", args("command", "df", "host", "db1"), deny},

		{"B30 nobody has said", "", "allow:*", args("command", "df"), ask},
		{"B30 nor of the tool", "", "allow:x__run", args("Shell_Command", "df"), ask},
		{"B30 nor with a wildcard in it", "", "allow:x__run(command=df*)", args("command", "df; rm x"), ask},
		{"B30 the whole of it", "", "allow:x__run(command=uptime)", args("command", "uptime"), allow},
		{"B30 as words", "", "allow:*", args("cmd", []any{"rm", "x"}), ask},
		{"B30 inside of another", "", "allow:*", args("job", []any{map[string]any{"script": "rm x"}}), ask},
		{"B30 inside of another, spelled out", "", "allow:x__run(job=a)", args("job", map[string]any{"script": "rm x"}), deny},
		{"B30 a number", "", "allow:*", args("command", json.Number("5")), allow},
		{"B30 another name", "", "allow:*", args("query", "df"), allow},
		{"B30 an undeclared one is not for rules about commands", "", "allow:x__run(df *)", args("query", "df"), ask},
		{"B30 and those that deny are about all of it", "", "deny:x__run(rm *);allow:*", args("query", "df"), deny},
		{"B30 somebody has said that it is none", policy.NoShell, "allow:*", args("command", "GET"), allow},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			p := policy.Policy{Platform: policy.Platform(), Agent: load(t, strings.Split(c.rules, ";")...)}
			d := p.Decide(policy.Call{Tool: "x__run", Arguments: c.args, Shell: c.shell})
			require.Equal(t, c.want, d.Verdict, "%v", d)
			require.NotEmpty(t, d.Reasons)
			if c.want == allow && c.shell == "command" {
				require.NotEmpty(t, d.Canonical)
			}
		})
	}
	// The canonical form is the one of every other shell, and so is the effect.
	for _, cmd := range []string{"df   -h  # x", "echo 'a'b", "rm -rf /tmp/x", "systemctl restart x", "cat /etc/shadow", "df > /tmp/x", "a | b", ""} {
		one, other := policy.Call{Tool: "ssh_execute", Command: cmd}, policy.Call{Tool: "x__run", Arguments: args("command", cmd), Shell: "command"}
		require.Equal(t, load(t, "allow:*").Decide(one).Canonical, load(t, "allow:*").Decide(other).Canonical, cmd)
		require.Equal(t, policy.Builtin().Impact(one), policy.Builtin().Impact(other), cmd)
	}
	other := policy.Call{Tool: "x__run", Arguments: args("command", "df", "env", "A=1"), Shell: "command"}
	require.Equal(t, policy.Unknown, policy.Builtin().Impact(other).Effect)
	require.Equal(t, []string{"allow:x__run(df -h)"}, policy.Policy{}.WouldAllow(policy.Call{Tool: "x__run", Arguments: args("command", "df -h"), Shell: "command"}))
	require.Empty(t, policy.Policy{}.WouldAllow(other))
	require.Empty(t, policy.Policy{}.WouldAllow(policy.Call{Tool: "x__run", Arguments: args("command", "df")}))
	// What is no pattern of either kind is refused still.
	for _, wrong := range []string{"allow:x__run()", "allow:x__run(a=b a=c)", "allow:x__run(a=b c)", "allow:x__run(a=b -- )", "allow:x__run(a;b)", "allow:x__run(@nothing)", "allow:x__run(=b)"} {
		_, err := policy.Load([]string{wrong})
		require.Error(t, err, wrong)
	}
	require.Len(t, load(t, "deny:x__run(rm *)", "allow:x__run(rm -r *)", "allow:x__run(host=a -- rm -r)", "allow:x__run(a=b)").Unreachable(), 2)
	// An exception of a role is of its own command alone.
	role, err := policy.Builtin().LoadRole([]string{"tool:x__run"}, []string{"tool:x__run:df *"})
	require.NoError(t, err)
	p := policy.Policy{Agent: load(t, "allow:*"), Role: role}
	require.Equal(t, allow, p.Decide(policy.Call{Tool: "x__run", Arguments: args("command", "df"), Shell: "command"}).Verdict)
	require.Equal(t, deny, p.Decide(policy.Call{Tool: "x__run", Arguments: args("command", "df; rm x"), Shell: "command"}).Verdict)
	require.Equal(t, deny, p.Decide(policy.Call{Tool: "x__run", Arguments: args("command", "df", "env", "A=1"), Shell: "command"}).Verdict)
}

func args(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

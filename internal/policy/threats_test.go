package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/stretchr/testify/require"
)

// links is a file system of symbolic links.
func links(m map[string]string) func(string) (string, error) {
	return func(p string) (string, error) { return m[p], nil }
}

// TestThreatsPaths: rows are judged with /w as workspace, where lnk leads to
// config, and with /data a link to /srv/data.
func TestThreatsPaths(t *testing.T) {
	t.Parallel()
	p := load(t, "deny:Write(/config/**)", "deny:Edit(/config/**)", "deny:Read(/config/**)", "deny:Grep(/config/**)", "deny:Read(//data/secret/**)", "deny:Read(~/.ssh/**)", "allow:*")
	place := &policy.Place{Workspace: "/w", Home: "/home/a", Dir: "/w/work", Link: links(map[string]string{
		"/w/work/lnk": "/w/config", "/w/work/far": "../config", "/w/work/home": "/home/a", "/data": "/srv/data", "/w/work/again": "lnk", "/w/work/loop": "loop2", "/w/work/loop2": "loop", "/w/work/sub": "/w/config/sub",
	})}
	const allow, deny = policy.Allow, policy.Deny
	for _, c := range []struct {
		id, tool string
		want     policy.Verdict
		paths    []string
	}{
		{"C1", "Write", deny, []string{"lnk/a", "far/a", "again/a", "./lnk/../lnk/a", "sub/../a", "lnk", "/w/work/lnk/a"}},
		{"C1 loops", "Write", deny, []string{"loop/a", "loop"}},
		{"C3", "Write", deny, []string{"../config/a", "../work/../config/a", "/w/config/a", "/w/x/../config/a", "/../w/config/a", "x/../../config/a"}},
		{"C4", "Write", deny, []string{"/w/config", "/w/config/", "../config", "/w/./config", "lnk"}},
		{"C5", "Edit", deny, []string{"/w/config/a", "lnk/a"}},
		{"C6", "Grep", deny, []string{"/w", "/", "..", "../", "/w/config", "/w/config/x", "lnk"}},
		{"C6 elsewhere", "Grep", allow, []string{"", "/w/work", ".", "x", "/srv"}},
		{"C10", "Read", deny, []string{"/data/secret/a", "/srv/data/secret/a", "/data/../srv/data/secret"}},
		{"C11", "Write", deny, []string{"/w/CONFIG/a", "/w/Config", "/w/config./a", "/w/config /a", "/w/config/A", "/w/cONFIG. ./a", "../Config/a"}},
		{"C11 form of the letters", "Write", deny, []string{"/w/cafe\u0301", "e\u0301/x"}},
		{"C12", "Write", deny, []string{"a\x00b", strings.Repeat("a/", 5000), "~root/x", "~root", "/w/" + strings.Repeat("x", 5000), "a\nb", "a\u202eb", "a\u200b"}},
		{"C3 home", "Read", deny, []string{"~/.ssh/id_rsa", "home/.ssh/x", "/home/a/.ssh", "~/x/../.ssh/id"}},
		{"free", "Write", allow, []string{"a", "a/b", "/w/work/a", "/w/configs/a", "/w/conf", "~/x", "a/../b", "/tmp/x", "...", "a..b"}},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			for _, path := range c.paths {
				args, err := json.Marshal(map[string]string{"path": path})
				require.NoError(t, err)
				call, err := policy.ReadCall(c.tool, args)
				require.NoError(t, err)
				if path == "" {
					call.Arguments = nil
				}
				call.Place = place
				d := p.Decide(call)
				require.Equal(t, c.want, d.Verdict, "%s %q: %v", c.tool, path, d)
				require.NotEmpty(t, d.Reasons)
			}
		})
	}
}

func TestThreatsPathsOfRedirections(t *testing.T) {
	t.Parallel()
	rules := load(t, "deny:Write(/config/**)", "deny:ssh_write_file(/config/**)", "deny:ssh_read_file(/etc/shadow)", "deny:Read(//etc/shadow)", "allow:ssh_write_file(/tmp/**)", "allow:Write(./**)", "allow:ssh_execute", "allow:Bash", "allow:Read")
	place := &policy.Place{Workspace: "/", Home: "/h", Dir: "/work", Link: links(map[string]string{"/work/lnk": "/config"})}
	for _, c := range []struct {
		id   string
		want policy.Verdict
		cmds []string
	}{
		{"C5", policy.Deny, []string{"echo x > /config/a", "echo x >> /config/a", "echo x >| /config/a", "echo x &> /config/a", "echo x >& /config/a", "x 2>/config/a", "x 2>>/config/a", "x <> /config/a", "{ echo x; } > /config", "(x) > /config/a", "x $(y > /config/a)", "> /config/a", "if x; then y; fi > /config/a",
			"for i in 1; do x; done >/config/a", "cat < /etc/shadow", "cat 0</etc/shadow", "bash -c x >/config/a"}},
		{"B6", policy.Ask, []string{"x > /etc/passwd", "x > $Y", "x > /config*", "x > ~/a", "x </dev/tcp/a/1", "x >/dev/sda", "x 3>/tmp/a", "x {fd}>/tmp/a", "x <<E\ny\nE", "x <<<y", "(x) >/tmp/a", "x >&3", "x >&-", "x <&0", "bash -c 'x > /tmp/a'"}},
		{"B6 allowed", policy.Allow, []string{"x 2>&1", "x >/dev/null", "x >/dev/null 2>&1", "x 2>/dev/null | y", "x &>/dev/null", "x >&2", "x 1>&2", "</dev/null x"}},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			for _, cmd := range c.cmds {
				for _, tool := range []string{"ssh_execute", "Bash"} {
					d := rules.Decide(policy.Call{Tool: tool, Command: cmd, Place: place})
					require.Equal(t, c.want, d.Verdict, "%s %q: %v", tool, cmd, d)
				}
			}
		})
	}
	for tool, commands := range map[string]map[string]policy.Verdict{
		"ssh_execute": {"x > /tmp/a": policy.Allow, "x > /tmp/../a": policy.Ask, "x > a": policy.Ask, "x > /tmp": policy.Allow},
		"Bash":        {"x > a": policy.Allow, "x > lnk/a": policy.Deny, "x > ../config/a": policy.Deny, "x > /work/a": policy.Allow, "x > ../a": policy.Ask, "x > lnk/../a": policy.Ask},
	} {
		for cmd, want := range commands {
			d := rules.Decide(policy.Call{Tool: tool, Command: cmd, Place: place})
			require.Equal(t, want, d.Verdict, "%s %q: %v", tool, cmd, d)
		}
	}
	for cmd, want := range map[string]string{
		"x >f 2>&1": "x >f 2>&1", ">f x": "x >f", "x &>f": "x >f 2>&1", "x 1>f": "x >f", "x 2> 'a b'": "x 2>'a b'", "x >|f": "x >f", "x &>>f": "x >>f 2>&1", "a 2>/dev/null|b": "a 2>/dev/null | b", "LC_ALL=C x": "LC_ALL=C x",
	} {
		require.Equal(t, want, load(t, "allow:*").Decide(policy.Call{Tool: "Bash", Command: cmd, Place: place}).Canonical, cmd)
	}
}

func TestPathsThatCannotBeKnown(t *testing.T) {
	t.Parallel()
	r := load(t, "deny:ssh_read_file(~/.ssh/**)", "allow:ssh_read_file(/var/log/**)", "allow:ssh_read_file(./**)", "allow:ssh_read_file(~/**)")
	for path, want := range map[string]policy.Verdict{
		"/var/log/syslog": policy.Allow, "/var/log": policy.Allow, "//var//log/./x": policy.Allow, "/var/log/../../etc/shadow": policy.Ask, "/etc/shadow": policy.Ask, "x": policy.Ask, "~/x": policy.Ask, "~/.ssh/id": policy.Deny, "../x": policy.Ask, "/VAR/LOG/x": policy.Ask,
	} {
		require.Equal(t, want, r.Decide(policy.Call{Tool: "ssh_read_file", Command: path}).Verdict, path)
	}
	// What cannot be found out is not allowed.
	place := &policy.Place{Workspace: "/w", Home: "/h", Dir: "/w", Link: func(string) (string, error) { return "", errors.New("not permitted") }}
	d := load(t, "allow:*").Decide(policy.Call{Tool: "Read", Command: "x", Place: place})
	require.Equal(t, policy.Deny, d.Verdict)
	require.Contains(t, d.Reasons[0], "not permitted")
	// A class for reading.
	r = load(t, "allow:ssh_read_file(@diagnostics)")
	for path, want := range map[string]policy.Verdict{"/var/log/syslog": policy.Allow, "/proc/meminfo": policy.Allow, "/etc/shadow": policy.Ask, "/proc/1/environ": policy.Ask, "var/log/x": policy.Ask, "/var/log/../x": policy.Ask} {
		require.Equal(t, want, r.Decide(policy.Call{Tool: "ssh_read_file", Command: path}).Verdict, path)
	}
	_, err := policy.Load([]string{"allow:Write(@diagnostics)"})
	require.ErrorContains(t, err, "begins with")
	_, err = policy.Load([]string{"allow:ssh_execute(@everything)"})
	require.ErrorContains(t, err, "there is @diagnostics")
}

func TestThreatsPathPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ id, rule, reason string }{
		{"C12", "deny:Read(~root/**)", "another user's home"},
		{"C3", "deny:Read(/a/../b)", ".."},
		{"C10 no root", "deny:Read(a/**)", "begins with"},
		{"C10 stars", "deny:Read(/a/**b)", "stands alone"},
		{"C11", "deny:Read(/cafe\u0301)", "combining"},
		{"C12 empty", "deny:Read()", "empty"},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			_, err := policy.Load([]string{c.rule})
			require.ErrorContains(t, err, c.reason)
		})
	}
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"//a/**", []string{"/a", "/a/b", "/a/b/c"}, []string{"/ab", "/", "/b/a"}},
		{"//a/*", []string{"/a/b"}, []string{"/a", "/a/b/c"}},
		{"//**/x", []string{"/x", "/a/x", "/a/b/x"}, []string{"/x/y"}},
		{"//a/**/b/**/c", []string{"/a/b/c", "/a/x/b/y/z/c"}, []string{"/a/c", "/a/b"}},
		{"//a/*.log", []string{"/a/x.log", "/a/.log"}, []string{"/a/x.log.1", "/a/b/x.log"}},
		{"//**", []string{"/", "/x", "/a/b"}, nil},
		{"/x/**", []string{"/w/x/y", "/w/x"}, []string{"/x/y"}},
		{"./x", []string{"/w/d/x", "x"}, []string{"/w/x"}},
		{"~/x", []string{"/h/x", "~/x"}, []string{"/w/x"}},
		{"//a b/[c-e]?", []string{"/a b/dx"}, []string{"/a b/fx"}},
	} {
		r := load(t, "allow:Read("+c.pattern+")")
		place := &policy.Place{Workspace: "/w", Home: "/h", Dir: "/w/d"}
		for _, path := range c.yes {
			require.Equal(t, policy.Allow, r.Decide(policy.Call{Tool: "Read", Command: path, Place: place}).Verdict, "%s %s", c.pattern, path)
		}
		for _, path := range c.no {
			require.Equal(t, policy.Ask, r.Decide(policy.Call{Tool: "Read", Command: path, Place: place}).Verdict, "%s %s", c.pattern, path)
		}
	}
	dead := load(t, "deny:Read(/a/**)", "allow:Read(/a/b)", "allow:Read(/b)", "allow:Read", "ask:Read(/c)", "allow:zabbix_api(host.*)", "deny:zabbix_api(host.*)", "allow:zabbix_hosts(limit=5)", "deny:zabbix_hosts(limit=5 x=y)").Unreachable()
	var rules []string
	for _, d := range dead {
		rules = append(rules, d.Rule)
	}
	require.Equal(t, []string{"allow:Read(/a/b)", "ask:Read(/c)", "deny:zabbix_api(host.*)", "deny:zabbix_hosts(limit=5 x=y)"}, rules)
}

func TestThreatsArguments(t *testing.T) {
	t.Parallel()
	r := load(t, "ask:zabbix_api(mediatype.get)", "allow:zabbix_api(*.get)", "deny:zabbix_api(*.delete)",
		"allow:zabbix_history(limit=1000 trends=true)", "deny:zabbix_hosts(name=db-*)", "allow:zabbix_hosts", `allow:zabbix_items(hostid=\10084)`, "deny:http_request(method=DELETE)", "allow:http_request(method=GET url=https://api.example.com/*)")
	for _, c := range []struct {
		id, tool, args string
		want           policy.Verdict
	}{
		{"D9", "zabbix_history", `{"limit":1000,"trends":true}`, policy.Allow},
		{"D9", "zabbix_history", `{"limit":1e3,"trends":true}`, policy.Allow},
		{"D9", "zabbix_history", `{"limit":"1e3","trends":true}`, policy.Deny},
		{"D9", "zabbix_history", `{"limit":"1000","trends":true}`, policy.Deny},
		{"D9", "zabbix_history", `{"limit":1000,"trends":1}`, policy.Deny},
		{"D9", "zabbix_history", `{"limit":1000,"trends":"true"}`, policy.Deny},
		{"D9", "zabbix_history", `{"limit":[1000],"trends":true}`, policy.Deny},
		{"D9", "zabbix_history", `{"limit":null,"trends":true}`, policy.Deny},
		{"D9", "zabbix_history", `{"limit":1001,"trends":true}`, policy.Ask},
		{"D9", "zabbix_history", `{"trends":true}`, policy.Ask},
		{"D9", "zabbix_history", `{"limit":1e999999999,"trends":true}`, policy.Deny},
		{"D9", "zabbix_hosts", `{"name":"db-1"}`, policy.Deny},
		{"D9", "zabbix_hosts", `{"name":["db-1"]}`, policy.Deny},
		{"D9", "zabbix_hosts", `{"name":"web"}`, policy.Allow},
		{"D9", "zabbix_hosts", `{}`, policy.Allow},
		{"D9", "zabbix_items", `{"hostid":"10084"}`, policy.Allow},
		{"D9", "zabbix_items", `{"hostid":10084}`, policy.Deny},
		{"D6", "zabbix_api", `{"method":"host.get"}`, policy.Allow},
		{"D6", "zabbix_api", `{"method":"mediatype.get"}`, policy.Ask},
		{"D6", "zabbix_api", `{"method":"MediaType.Get"}`, policy.Ask},
		{"D6", "zabbix_api", `{"method":"host.GET"}`, policy.Allow},
		{"D6", "zabbix_api", `{"method":"Host.Delete"}`, policy.Deny},
		{"D6", "zabbix_api", `{"method":"host.create"}`, policy.Ask},
		{"D6", "zabbix_api", `{"method":"host.get "}`, policy.Deny},
		{"D6", "zabbix_api", `{"method":"host.delete\u200b"}`, policy.Deny},
		{"D6", "zabbix_api", `{"method":""}`, policy.Deny},
		{"D6", "zabbix_api", `{"method":7}`, policy.Deny},
		{"D6", "zabbix_api", `{}`, policy.Deny},
		{"D6", "http_request", `{"method":"DELETE","url":"https://api.example.com/x"}`, policy.Deny},
		{"D6", "http_request", `{"method":"GET","url":"https://api.example.com/x"}`, policy.Allow},
		{"D6", "http_request", `{"method":"GET","url":"https://evil.example.com/x"}`, policy.Ask},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			call, err := policy.ReadCall(c.tool, json.RawMessage(c.args))
			require.NoError(t, err)
			d := r.Decide(call)
			require.Equal(t, c.want, d.Verdict, "%s %s: %v", c.tool, c.args, d)
		})
	}
	_, err := policy.ReadCall("zabbix_api", json.RawMessage(`[]`))
	require.Error(t, err)
	require.Equal(t, policy.Deny, r.Decide(policy.Call{Tool: "zabbix_api", Command: "host.get", Arguments: map[string]any{"method": "host.delete"}}).Verdict)
	for _, rule := range []string{"allow:zabbix_hosts(x)", "allow:zabbix_hosts(=x)", "allow:zabbix_hosts(a=1 a=2)", "allow:zabbix_hosts()", "allow:zabbix_hosts(a=[x)", "allow:zabbix_api()", "allow:zabbix_api(a b)"} {
		_, err := policy.Load([]string{rule})
		require.Error(t, err, rule)
	}
}

// Tools that are configured are judged by what they are declared as.
func TestThreatsConfiguredTools(t *testing.T) {
	t.Parallel()
	tools, err := policy.Builtin().With(
		policy.Tool{Name: "mcp__host__bash", Subject: policy.Command, Argument: "cmd", Reads: "Read", Writes: "Write"},
		policy.Tool{Name: "mcp__host__write_file", Subject: policy.Path, Argument: "file"},
		policy.Tool{Name: "runbook_lookup", Subject: policy.Arguments})
	require.NoError(t, err)
	for _, c := range []struct {
		id   string
		tool policy.Tool
	}{
		{"D4", policy.Tool{Name: "ssh_execute"}}, {"D4 again", policy.Tool{Name: "runbook_lookup"}},
		{"D1", policy.Tool{Name: "ssh_execute\u200b"}}, {"D1 homoglyph", policy.Tool{Name: "ѕsh_execute"}}, {"D1 empty", policy.Tool{}}, {"D1 long", policy.Tool{Name: strings.Repeat("x", 129)}},
		{"D3", policy.Tool{Name: "x", Subject: policy.Command}},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			_, err := tools.With(c.tool)
			require.Error(t, err)
		})
	}
	_, err = tools.With(policy.Tool{Name: "x", Subject: policy.Command, Argument: "a", Reads: "nope"})
	require.ErrorContains(t, err, "nope")
	t.Run("B30", func(t *testing.T) {
		t.Parallel()
		r, err := tools.Load([]string{"deny:ssh_execute(rm *)", "deny:Bash(rm *)", "deny:mcp__host__bash(rm *)", "allow:*"})
		require.NoError(t, err)
		for _, cmd := range []string{"rm x", "/bin/rm x", "a; rm x", "a $(rm x)", "sudo rm x", "a", "a > /x", "git -c x=y z", "a\x00", ""} {
			want := r.Decide(policy.Call{Tool: "ssh_execute", Command: cmd})
			require.Equal(t, want.Verdict, r.Decide(policy.Call{Tool: "Bash", Command: cmd}).Verdict, cmd)
			require.Equal(t, want.Verdict, r.Decide(policy.Call{Tool: "mcp__host__bash", Arguments: map[string]any{"cmd": cmd}}).Verdict, cmd)
		}
	})
	t.Run("C5", func(t *testing.T) {
		t.Parallel()
		r, err := tools.Load([]string{"deny:mcp__*", "allow:*"})
		require.NoError(t, err)
		require.Equal(t, policy.Deny, r.Decide(policy.Call{Tool: "mcp__host__write_file", Command: "/x"}).Verdict)
	})
}

func TestThreatsRoles(t *testing.T) {
	t.Parallel()
	everything := load(t, "allow:*")
	for _, c := range []struct {
		id          string
		deny, allow []string
		calls       map[string]policy.Verdict
	}{
		{"B29", []string{"tool:Bash"}, []string{"tool:Bash:git *"}, map[string]policy.Verdict{
			"git status": policy.Allow, "git": policy.Allow, "git status; rm -rf ~": policy.Deny, "rm -rf ~": policy.Deny, "git status && git log": policy.Allow, "git status $(x)": policy.Deny, "git $X": policy.Deny, "git -c alias.x=!id x": policy.Deny, "timeout 5 git log": policy.Allow, "sudo git log": policy.Deny, "git log | sh": policy.Deny}},
		{"E6", []string{"tool:Bash"}, []string{"tool:*"}, map[string]policy.Verdict{"git status": policy.Deny}},
		{"E6 the same", []string{"tool:Bash:git *"}, []string{"tool:Bash:git *"}, map[string]policy.Verdict{"git status": policy.Deny, "ls": policy.Allow}},
		{"E6 a prefix", []string{"tool:B*"}, []string{"tool:Bash"}, map[string]policy.Verdict{"git status": policy.Deny}},
		{"E6 narrower", []string{"tool:*"}, []string{"tool:Bash"}, map[string]policy.Verdict{"git status": policy.Allow}},
		{"E6 narrower than one", []string{"tool:*", "tool:Bash:git *"}, []string{"tool:Bash"}, map[string]policy.Verdict{"git status": policy.Deny, "ls": policy.Allow}},
		{"E6 a pattern in a pattern", []string{"tool:Bash:git *"}, []string{"tool:Bash:git log *"}, map[string]policy.Verdict{"git push": policy.Deny, "git log": policy.Allow, "sudo git push": policy.Deny}},
		{"E7", nil, nil, map[string]policy.Verdict{"git status": policy.Allow}},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			role, err := policy.Builtin().LoadRole(c.deny, c.allow)
			require.NoError(t, err)
			for cmd, want := range c.calls {
				d := policy.Policy{Agent: everything, Role: role}.Decide(policy.Call{Tool: "Bash", Command: cmd})
				require.Equal(t, want, d.Verdict, "%q: %v", cmd, d)
				if want == policy.Deny {
					require.Equal(t, policy.LayerRole, d.Layer, "%q: %v", cmd, d)
				}
				// A role allows nothing by itself.
				require.NotEqual(t, policy.Allow, policy.Policy{Role: role}.Decide(policy.Call{Tool: "Bash", Command: cmd}).Verdict)
			}
		})
	}
	for _, bad := range []string{"Bash", "tool:", "tool:Nope", "tool:bash", "tool:Bash:", "tool: Bash", "tool:ssh_hosts:x", "tool:*:x", "tool:Bash\u200b"} {
		_, err := policy.Builtin().LoadRole([]string{"tool:Bash", bad}, nil)
		var wrong *policy.RuleError
		require.ErrorAs(t, err, &wrong, bad)
		require.Equal(t, 1, wrong.Index)
	}
}

// Across layers deny is stronger than ask and ask than allow; only the agent's
// list can allow.
func TestLayers(t *testing.T) {
	t.Parallel()
	const allow, ask, deny = policy.Allow, policy.Ask, policy.Deny
	lists := map[policy.Verdict]*policy.Rules{allow: load(t, "allow:ssh_execute(df *)"), ask: load(t, "ask:ssh_execute(df *)"), deny: load(t, "deny:ssh_execute(df *)"), "": nil, "other": load(t, "deny:ssh_execute(rm *)", "ask:ssh_hosts")}
	call := policy.Call{Tool: "ssh_execute", Command: "df -h"}
	for platform := range lists {
		for agent := range lists {
			for run := range lists {
				want := ask // no rule of the agent
				if agent == allow || agent == deny {
					want = agent
				}
				for _, v := range []policy.Verdict{platform, run} {
					if v == deny || v == ask && want == allow {
						want = v
					}
				}
				d := policy.Policy{Platform: lists[platform], Agent: lists[agent], Run: lists[run]}.Decide(call)
				require.Equal(t, want, d.Verdict, "%s %s %s", platform, agent, run)
				if want == deny {
					require.NotEmpty(t, d.Layer)
					require.Equal(t, "deny:ssh_execute(df *)", d.Rule)
				}
			}
		}
	}
	d := policy.Policy{Platform: policy.Platform(), Agent: load(t, "allow:*")}
	for _, cmd := range []string{"reboot", "sudo reboot", "/sbin/reboot", "df; shutdown -h now", "systemctl --no-block poweroff", "mkfs.ext4 /dev/sda", "rm -rf /", "rm -r -f /", "bash -c reboot", "init 0", "timeout 5 reboot", "df $(reboot)", "rm --no-preserve-root -rf /",
		"rm -rf / --no-preserve-root", "rm --recursive --force --no-preserve-root /", "rm -r -f -v /", "rm -rf //", "rm -rf /.", "rm -rf /*", "rm /tmp/x / -R", "rm --rec /", "sudo rm -rfv /", "rm -rf --no-preserve /x/../..",
		"systemctl --force --force reboot", "systemctl -ff poweroff", "systemctl -i -H root@db reboot", "systemctl start poweroff.target", "systemctl isolate reboot", "systemctl soft-reboot", "systemctl start --no-block systemd-reboot.service", "numactl reboot", "sg root -c reboot", "split --filter=reboot x"} {
		for _, tool := range []string{"ssh_execute", "Bash"} {
			got := d.Decide(policy.Call{Tool: tool, Command: cmd})
			require.Equal(t, deny, got.Verdict, "%s: %v", cmd, got)
			require.Equal(t, policy.LayerPlatform, got.Layer)
		}
	}
	for _, cmd := range []string{"rm -rf /tmp/x", "rm /", "echo rm -rf /", "systemctl status reboot.target", "systemctl list-dependencies poweroff.target"} {
		require.Equal(t, allow, d.Decide(policy.Call{Tool: "Bash", Command: cmd}).Verdict, cmd)
	}
	require.Equal(t, ask, d.Decide(policy.Call{Tool: "Bash", Command: "systemctl restart reboot-notifier.service"}).Verdict)
	// A run that is for some commands has no others, and what it does not spell out is asked.
	run := policy.Policy{Agent: load(t, "allow:ssh_execute(git -c a=b log)", "allow:*"), Run: load(t, "allow:ssh_execute(git *)", "deny:*")}
	for cmd, want := range map[string]policy.Verdict{"git log": allow, "ls": deny, "git -c a=b log": ask, "git log; ls": deny} {
		require.Equal(t, want, run.Decide(policy.Call{Tool: "ssh_execute", Command: cmd}).Verdict, cmd)
	}
}

// Wrappers are seen through when what they run can be read.
func TestWrappers(t *testing.T) {
	t.Parallel()
	r := load(t, "deny:ssh_execute(rm *)", "allow:ssh_execute(git *)", "allow:ssh_execute(sudo systemctl restart nginx)", "ask:ssh_execute(nohup *)")
	for cmd, want := range map[string]policy.Verdict{
		"timeout 5 git log": policy.Allow, "timeout -k 5 10s git log": policy.Allow, "nice -n 5 git log": policy.Allow, "nice -5 git log": policy.Allow, "env git log": policy.Allow, "env LC_ALL=C git log": policy.Allow, "setsid -w git log": policy.Allow, "stdbuf -oL git log": policy.Allow, "bash -c 'git log; git status'": policy.Allow, "timeout 5 sh -c 'git log | git x'": policy.Allow, "/usr/bin/timeout 5 git log": policy.Allow, "ionice -c 3 git log": policy.Allow,
		"timeout 5 ls": policy.Ask, "timeout 5": policy.Ask, "timeout git log": policy.Ask, "timeout --foo 5 git log": policy.Ask, "timeout $X git log": policy.Ask, "timeout 5 $X": policy.Ask, "nice -n": policy.Ask, "env GIT_PAGER=id git log": policy.Ask, "env -i git log": policy.Ask, "env -S 'git log'": policy.Ask, "./timeout 5 git log": policy.Ask, "sudo git log": policy.Ask, "sudo -u root git log": policy.Ask, "xargs git log": policy.Ask, "xargs -I{} git {}": policy.Ask, "xargs -I X git log": policy.Allow, "xargs -I X -L1 git log": policy.Ask, "nohup git log": policy.Ask,
		"bash -c 'git log; ls'": policy.Ask, "bash -c 'git $X'": policy.Ask, "bash -c 'git log > /x'": policy.Ask, "bash -c \"git log\" x": policy.Ask, "bash -xc 'git log'": policy.Ask, "bash -c 'git -c a=b log'": policy.Ask, "timeout 5 git -c a=b log": policy.Ask, "find . -exec git log \\;": policy.Ask, "strace git log": policy.Ask, "bash -c ''": policy.Ask, "zsh -c 'git log\ngit log'": policy.Ask,
		"timeout 5 rm x": policy.Deny, "sudo rm x": policy.Deny, "xargs rm": policy.Deny, "nohup rm x": policy.Deny, "env -S 'rm x'": policy.Deny, "bash -c 'git log; rm x'": policy.Deny, "bash -c \"bash -c 'bash -c \\\"rm x\\\"'\"": policy.Deny, "sudo timeout 5 nice bash -c 'rm x'": policy.Deny, "find . -exec rm {} \\;": policy.Deny, "find . -exec sh -c 'rm x' \\;": policy.Deny, "timeout --foo 5 rm x": policy.Deny,
		"sudo systemctl restart nginx": policy.Allow, "sudo systemctl restart mysql": policy.Ask, "sudo -n systemctl restart nginx": policy.Ask,
	} {
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: cmd})
		require.Equal(t, want, d.Verdict, "%q: %v", cmd, d)
	}
	// The text of a shell is sent as it was read.
	require.Equal(t, "bash -c 'git log '\\''a b'\\'", r.Decide(policy.Call{Tool: "ssh_execute", Command: `bash -c "git   log 'a b' # x"`}).Canonical)
}

func TestExplain(t *testing.T) {
	t.Parallel()
	p := policy.Policy{Platform: policy.Platform(), Agent: load(t, "deny:ssh_execute(rm *)", "ask:ssh_execute(ls *)", "allow:ssh_execute(@diagnostics)")}
	for cmd, want := range map[string][]string{
		"df -h":                       nil,
		"rm x":                        nil,
		"ls":                          {"allow:ssh_execute(ls)"},
		"systemctl restart nginx":     {"allow:ssh_execute(systemctl restart nginx)"},
		"df; a 'b c' '*'; d > /tmp/x": {`allow:ssh_execute(a b?c \*)`, "allow:ssh_execute(d)", "allow:ssh_write_file(//tmp/x)"},
		"a $X":                        nil,
		"git -c a=b log":              {"allow:ssh_execute(git -c a=b log)"},
		"reboot":                      nil,
		"bash x":                      {"allow:ssh_execute(bash x)"},
		"timeout 5 make":              {"allow:ssh_execute(timeout 5 make)"},
		"a 'b;c'":                     {`allow:ssh_execute(a b\;c)`},
	} {
		require.Equal(t, want, p.WouldAllow(policy.Call{Tool: "ssh_execute", Command: cmd}), cmd)
	}
	require.Equal(t, []string{"allow:zabbix_api(host.create)"}, p.WouldAllow(policy.Call{Tool: "zabbix_api", Command: "host.create"}))
	require.Equal(t, []string{"allow:ssh_hosts"}, p.WouldAllow(policy.Call{Tool: "ssh_hosts"}))

	d := p.Decide(policy.Call{Tool: "ssh_execute", Command: "journalctl --rotate"})
	require.Contains(t, d.Reasons[0], "--rotate is not a known safe option")

	after := policy.Policy{Platform: p.Platform, Agent: load(t, "allow:ssh_execute(ls *)")}
	require.Nil(t, policy.Compare(p, after, policy.Call{Tool: "ssh_execute", Command: "make"}))
	c := policy.Compare(p, after, policy.Call{Tool: "ssh_execute", Command: "ls"})
	require.Equal(t, []policy.Verdict{policy.Ask, policy.Allow}, []policy.Verdict{c.Before.Verdict, c.After.Verdict})
}

// A fault is named with its place.
func TestThreatsPositions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, rule string
		column   int
	}{
		{"A2", "Deny:ssh_hosts", 0}, {"A2 blank", "deny: ssh_hosts", 5}, {"A3", "deny:ssh_hosts(x)", 15}, {"A5", "allow:Nope", 6}, {"B16", "allow:ssh_execute(a\u202e)", 19}, {"A2 class", "allow:ssh_execute(@x)", 18},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			_, err := policy.Load([]string{c.rule})
			var wrong *policy.RuleError
			require.ErrorAs(t, err, &wrong)
			require.Equal(t, c.column, wrong.Column, "%v", err)
			require.Contains(t, err.Error(), fmt.Sprintf("%q", c.rule))
		})
	}
}

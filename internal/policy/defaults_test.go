package policy_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/migrations"
	"github.com/stretchr/testify/require"
)

// TestDefaultRules holds the rules that a new installation starts with to what
// the migration says of them.
func TestDefaultRules(t *testing.T) {
	t.Parallel()
	sql, err := fs.ReadFile(migrations.FS, "0001_first.sql")
	require.NoError(t, err)
	_, list, ok := strings.Cut(string(sql), "INSERT INTO agents (id, rules) VALUES ('investigator', ARRAY[")
	require.True(t, ok)
	list, _, ok = strings.Cut(list, "]);")
	require.True(t, ok)
	var rules []string
	for _, m := range regexp.MustCompile(`(?m)^\s*'(.*)',?$`).FindAllStringSubmatch(list, -1) {
		rules = append(rules, m[1])
	}
	require.Greater(t, len(rules), 50)
	r := load(t, rules...)
	require.Empty(t, r.Unreachable())

	require.Equal(t, policy.Allow, r.Decide(policy.Call{Tool: "ssh_hosts"}).Verdict)
	for _, cmd := range []string{
		"df -h", "df -h /var", "uptime", "free -m", "nproc", "uname -a", "ss -s", "ss -tln", "vmstat 1 5",
		"ps -eo pid,ppid,user,stat,pcpu,pmem,etime,comm --sort=-pcpu",
		"ps -eo pid,ppid,user,stat,pcpu,pmem,etime,comm --sort=-pcpu | head -n 10",
		"ps aux --sort=-%mem | head -20", "ps -ef | grep nginx | wc -l", "du -xh --max-depth=1 /var | sort -rh | head -n 5",
		"systemctl --failed", "systemctl status nginx.service", "systemctl status nginx --no-pager | head -n 20",
		"journalctl --no-pager -u nginx -n 50", "journalctl --no-pager -u nginx -n 50 --since='1 hour ago'", "dmesg -T | tail -n 20 | grep -i oom",
		"cat /proc/loadavg", "cat /etc/os-release", "ls -la /var/log", "df -h && free -m; uptime",
	} {
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: cmd})
		require.Equal(t, policy.Allow, d.Verdict, "%q: %v", cmd, d.Reasons)
	}
	for _, cmd := range []string{
		// writes
		"sort -o /etc/passwd", "sort --output=/etc/x", "sort -rn -o x", "uniq x /etc/cron.d/x", "date -s x", "date 01010000", "hostname x", "dmesg -C", "dmesg -c", "df -h > /x",
		"journalctl --no-pager -n 5 --vacuum-size=1", "journalctl --rotate", "ss -K", "ip route add x", "ip -br addr add x", "top -b -n 1 -p 1 -W", "du -xsh /x --files0-from=/etc/shadow",
		// starts
		"sort --compress-program=id", "systemctl --failed stop x", "systemctl status x stop y", "systemctl start x", "systemctl status --no-pager stop", "vmstat 1 5 | sh", "top", "find / -exec id", "id; sh",
		"ps aux | xargs kill", "who am i", "ip -b /x route", "ip route exec",
		// goes elsewhere
		"systemctl status -Hroot@x", "systemctl -H x status y", "systemctl status --host=x", "systemctl -M x status y", "journalctl -M x --no-pager -n 5", "journalctl --no-pager -u -Mx -n 5", "ss -tln -N x",
		// reads files
		"cat /etc/shadow", "cat /proc/1/environ", "cat /proc/loadavg /etc/shadow", "cat /proc/../etc/shadow", "head -n 5 /etc/shadow", "head -5 /etc/shadow", "tail -n 5 /etc/shadow", "head /etc/shadow", "wc -l /etc/shadow", "wc --files0-from=/etc/shadow",
		"sort /etc/shadow", "sort --files0-from=/x", "uniq /etc/shadow", "grep root /etc/shadow", "grep -f /etc/shadow", "grep -f/etc/shadow", "grep --file=/etc/shadow", "grep -r x", "grep -re.", "grep -E -r", "grep -E -re.", "grep x -r",
		"journalctl --no-pager -n 5 --file=/x", "journalctl --no-pager -u x -n 5 -D /x", "date -f /etc/shadow", "ls -la -R /", "ls -la /x --hyperlink", "dmesg -F /etc/shadow", "ss -F /etc/shadow", "tail -f",
		// shows environments
		"ps eww", "ps auxe", "ps -eo pid,environ", "env", "printenv", "ps -ef e", "systemctl show-environment", "systemctl show x", "systemctl cat x",
		// is not what it looks like
		"./df -h", "/tmp/df -h", "PATH=/tmp df -h", "df -h $(id)", "df -h\nid", "df -h /*", "df -h & id",
	} {
		d := r.Decide(policy.Call{Tool: "ssh_execute", Command: cmd})
		require.NotEqual(t, policy.Allow, d.Verdict, "%q: %v", cmd, d)
	}
}

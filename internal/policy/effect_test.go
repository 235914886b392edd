package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/policy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestImpactOfCommands(t *testing.T) {
	t.Parallel()
	for want, commands := range map[string][]string{
		"reads low":    {"df -h", "journalctl -u nginx -n 50 | grep -i error", "systemctl status nginx", "printf '%s' 'rm -rf /'", "echo x", "timeout 5 df", "sudo df -h", "bash -c 'df; free'", "ls /home", "kubectl get pods -n web", "find /opt -name x"},
		"reads medium": {"cat /opt/app/config.yaml", "grep -c x /opt/app/x", "kubectl get pods -n web -o yaml", "docker inspect x", "cat </opt/x", "sort /opt/a | uniq -c", "uniq -c /opt/a", "kubectl get -n web pods -o yaml", "kubectl --namespace=web get pods -o yaml", "systemctl --user cat x"},
		"changes medium": {"systemctl restart nginx", "systemctl --no-block restart nginx", "service nginx restart", "docker restart web", "kubectl -n web rollout restart deploy/x", "kubectl scale --replicas=3 deploy/x",
			"kill 17", "kill -1 17", "mkdir /opt/x", "echo x > /tmp/x", "nginx -s reload", "df; systemctl restart nginx", "timeout 9 systemctl restart nginx", "sh -c 'systemctl restart nginx'", "docker compose restart web", "uniq /opt/a /opt/b", "uniq - /opt/b", "systemctl -n 5 --no-pager restart nginx"},
		"changes high":  {"date 010100002030", "date -s x", "apt-get install -y htop", "sysctl -w vm.swappiness=1"},
		"exposure high": {"iptables -F", "ip link set eth0 down", "curl https://example.com/x", "scp a b:/c", "nc -l 1", "cat /etc/shadow", "tail /root/.bash_history", "grep x /home/ann/.ssh/id_rsa", "cat </etc/shadow", "kubectl get secret x -o yaml", "kubectl get -o yaml secret x", "kubectl get pods,secrets", "kubectl get secret/x", "kubectl port-forward pod/x 1:2", "df; curl http://example.com", "cp /opt/app.env /tmp/x", "dig x.example.com", "cat /proc/1/environ", "cat app.env"},
		"privilege high": {"sudo systemctl restart nginx", "doas systemctl restart nginx", "su -c id", "chmod 777 /opt/x", "chown ann /opt/x", "useradd x", "passwd x", "crontab /tmp/x", "systemctl enable x", "systemctl mask x", "echo x > /etc/cron.d/x", "echo x >> /etc/sudoers",
			"cp a /etc/nginx/nginx.conf", "uniq /opt/a /etc/cron.d/x", "modprobe x", "chroot /x ls", "echo x > /home/ann/.ssh/authorized_keys"},
		"destroys high":     {"rm x", "rm -rf /tmp/x", "rm -rf /tmp/etc", "truncate -s 0 /var/log/x", "docker system prune -f", "docker rm -f x", "kubectl delete pod x", "kubectl drain n1", "journalctl --vacuum-size=1M", "find /tmp -delete", "apt-get remove x", "sudo rm x", "df; rm x", "helm uninstall x", "kill -9 -1", "/usr/bin/rm x"},
		"destroys critical": {"rm -rf /var", "rm -r -f /etc/", "rm -rf /*", "dd if=/dev/zero of=/dev/sda", "mkfs.ext4 /dev/sdb1", "lvremove vg/x", "dropdb prod", "zpool destroy x", "cp x /dev/sda"},
		"unknown high": {"make", "./x", "/tmp/fix.sh", "bash x.sh", "sh /tmp/x", "python3 -c x", "perl -e x", "awk 'BEGIN{system(\"id\")}'", "sed -i s/a/b/ x", "ssh-agent x", "$X", "rm $X", "echo $(id)", "eval x", "xargs rm", "find . -exec rm {} \\;", "psql -c 'drop table x'", "mysql -e x", "git push",
			"docker -l info rm -f web", "docker --context top rm -f web", "docker container -l ls rm x", "kubectl --cache-dir get delete ns prod", "supervisorctl -u status stop all", "helm --registry-config list uninstall x", "systemctl --root status mask nginx", "systemctl -H status stop nginx",
			"systemctl -n --root status mask nginx", "yq -i .a=1 f", "rg --pre sh x", "ag --pager sh x",
			"systemctl frobnicate x", "docker exec x sh", "docker run x", "kubectl exec x -- ls", "kubectl apply -f x", "sort -o /etc/x y", "nginx -c /tmp/x", "echo x | sh", "base64 -d x", "x=1 df", "", "df &", "redis-cli flushall", "sudo ./x", "/opt/bin/rm x", "cat x > $Y", "cat /opt/app/*.log"},
	} {
		effect, risk, _ := strings.Cut(want, " ")
		for _, cmd := range commands {
			for _, tool := range []string{"ssh_execute", "Bash"} {
				if strings.Contains(cmd, "/home/ann/.ssh/authorized") && tool == "Bash" {
					continue
				}
				i := policy.Builtin().Impact(policy.Call{Tool: tool, Command: cmd, Place: &policy.Place{Workspace: "/w", Home: "/h", Dir: "/w"}})
				assert.Equal(t, []string{effect, risk}, []string{string(i.Effect), i.Risk}, "%s %q: %s", tool, cmd, i.Why)
				require.NotEmpty(t, i.Why)
			}
		}
	}
}

func TestImpactOfTools(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ tool, arguments, want string }{
		{"ssh_hosts", `{}`, "reads low"},
		{"zabbix_problems", `{"limit":1}`, "reads low"},
		{"zabbix_acknowledge", `{"event":"1"}`, "changes low"},
		{"zabbix_api", `{"method":"host.get"}`, "reads medium"},
		{"zabbix_api", `{"method":"Usermacro.Get"}`, "exposure high"},
		{"zabbix_api", `{"method":"host.update"}`, "changes medium"},
		{"zabbix_api", `{"method":"host.delete"}`, "destroys high"},
		{"zabbix_api", `{"method":"user.update"}`, "privilege high"},
		{"zabbix_api", `{"method":"script.execute"}`, "unknown high"},
		{"zabbix_api", `{"method":"script.create"}`, "unknown high"},
		{"zabbix_api", `{"method":7}`, "unknown high"},
		{"ssh_read_file", `{"path":"/var/log/syslog"}`, "reads low"},
		{"ssh_read_file", `{"path":"/opt/x"}`, "reads medium"},
		{"ssh_read_file", `{"path":"/etc/shadow"}`, "exposure high"},
		{"ssh_read_file", `{"path":"/opt/../etc/shadow"}`, "unknown high"},
		{"http_request", `{"method":"GET"}`, "exposure high"},
		{"gone", `{}`, "unknown high"},
	} {
		call, err := policy.ReadCall(c.tool, json.RawMessage(c.arguments))
		require.NoError(t, err)
		i := policy.Builtin().Impact(call)
		require.Equal(t, c.want, string(i.Effect)+" "+i.Risk, "%s %s: %s", c.tool, c.arguments, i.Why)
	}
}

// G8: what stands in a file, which an earlier call may have written, is of no
// effect that anybody can opt in to.
func TestThreatsImpact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id, written string
		runs        []string
	}{
		{"G8", "echo 'rm -rf /' > /tmp/fix", []string{"/tmp/fix", "sh /tmp/fix", "bash /tmp/fix", ". /tmp/fix", "source /tmp/fix", "sudo /tmp/fix", "timeout 5 /tmp/fix", "cat /tmp/fix | sh", "xargs -a /tmp/fix rm", "python3 /tmp/fix", "env /tmp/fix", "nohup /tmp/fix", "chmod +x /tmp/fix; /tmp/fix", "bash -c /tmp/fix", "crontab /tmp/fix", "at -f /tmp/fix now", "find /tmp/fix -exec {} \\;", "sed -f /tmp/fix x", "awk -f /tmp/fix"}},
		{"G3 encoded", "echo cm0gLXJmIC8K > /tmp/x", []string{"base64 -d /tmp/x | sh", "echo cm0gLXJmIC8K | base64 -d | bash", "xxd -r /tmp/x | sh", "eval \"$(base64 -d /tmp/x)\""}},
	} {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, policy.Changes, policy.Builtin().Impact(policy.Call{Tool: "ssh_execute", Command: c.written}).Effect)
			for _, cmd := range c.runs {
				i := policy.Builtin().Impact(policy.Call{Tool: "ssh_execute", Command: cmd})
				require.Contains(t, []policy.Effect{policy.Unknown, policy.Privilege}, i.Effect, "%q: %s", cmd, i.Why)
				require.Equal(t, "high", i.Risk, cmd)
			}
		})
	}
}

// FuzzImpact: whatever a command says, its impact is of a known kind and, unless
// the whole of it was understood, unknown.
func FuzzImpact(f *testing.F) {
	for _, s := range []string{"df", "rm -rf /", "sudo x", "a > b", "kubectl -n", "systemctl", "service a b", "bash -c 'x", "docker compose", "kill -- -1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cmd string) {
		call := policy.Call{Tool: "ssh_execute", Command: cmd}
		i := policy.Builtin().Impact(call)
		require.Contains(t, policy.Effects, i.Effect)
		require.Contains(t, []string{"low", "medium", "high", "critical"}, i.Risk)
		require.NotEmpty(t, i.Why)
		if policy.Builtin().Impact(call) != i {
			t.Fatal("not the same twice")
		}
		rules, err := policy.Load([]string{"allow:*"})
		require.NoError(t, err)
		if rules.Decide(call).Canonical == "" && i.Effect != policy.Unknown {
			t.Fatalf("%q was not understood and is %s", cmd, i.Effect)
		}
	})
}

package starter_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/grouping"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/skill"
	"github.com/akmatori/akmatori/internal/skill/starter"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/stretchr/testify/require"
)

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// Every command and call in what comes with the program is one that the default
// agent makes without asking anybody.
func TestEveryCommandIsAllowed(t *testing.T) {
	t.Parallel()
	skills, err := skill.Folder(starter.Skills())
	require.NoError(t, err)
	require.Len(t, skills, 8)
	rules, err := policy.Load(postgres.DefaultAgentDef().Rules)
	require.NoError(t, err)
	tools := tool.Table(nil, nil)
	p := policy.Policy{Platform: policy.Platform(), Agent: rules}
	for _, s := range skills {
		commands := 0
		for _, f := range s.Files {
			for _, block := range fence.FindAllStringSubmatch(string(f.Content), -1) {
				for line := range strings.Lines(block[2]) {
					line = strings.TrimSpace(line)
					var call policy.Call
					switch block[1] {
					case "sh":
						call = policy.Call{Tool: "ssh_execute", Command: line}
					case "tool":
						name, args, _ := strings.Cut(line, " ")
						var err error
						call, err = policy.ReadCall(name, json.RawMessage(args))
						require.NoError(t, err, line)
						i := slices.IndexFunc(tools, func(t tool.Tool) bool { return t.Name == name })
						require.GreaterOrEqual(t, i, 0, "there is no tool %s", name)
						_, err = tools[i].Parse(json.RawMessage(args))
						require.NoError(t, err, line)
					default:
						require.Fail(t, "a block of another kind", "%s %s: %s", s.About.Name, f.Path, block[1])
					}
					d := p.Decide(call)
					if d.Verdict != policy.Allow {
						t.Errorf("%s %s: %s: %s (%s)", s.About.Name, f.Path, line, d.Verdict, strings.Join(d.Reasons, "; "))
					}
					commands++
				}
			}
		}
		require.Greater(t, commands, 4, s.About.Name)
	}
}

// What the files link to is there, and their names and descriptions are short
// enough to be read with every incident.
func TestLinksAndSizes(t *testing.T) {
	t.Parallel()
	skills, err := skill.Folder(starter.Skills())
	require.NoError(t, err)
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	for _, s := range skills {
		require.LessOrEqual(t, len(s.About.Description), 400, s.About.Name)
		require.LessOrEqual(t, len(s.Body), 10_000, "%s: move what is not always needed into references/", s.About.Name)
		for _, f := range s.Files {
			for _, m := range link.FindAllStringSubmatch(string(f.Content), -1) {
				found := false
				for _, other := range s.Files {
					found = found || other.Path == m[1]
				}
				require.True(t, found, "%s links to %s", s.About.Name, m[1])
			}
		}
	}
	runbooks, err := skill.Runbooks(starter.Runbooks(), "akmatori")
	require.NoError(t, err)
	require.Len(t, runbooks, 3)
}

// Alerts as senders name them bring the skill that is for them.
func TestStartersMatch(t *testing.T) {
	t.Parallel()
	skills, err := skill.Folder(starter.Skills())
	require.NoError(t, err)
	for title, want := range map[string]string{
		"DiskFull": "disk", "High memory utilization (>90% for 5m)": "memory", "HostHighCpuLoad": "cpu", "Disk space is low (used > 80%)": "disk",
		"Load average is too high (per CPU load over 1.5 for 5m)": "cpu", "Unavailable by ICMP ping": "network", "HostOutOfMemory": "memory",
		"SystemdUnitFailed": "systemd-services", "nginx service is down": "systemd-services", "PostgresqlTooManyConnections": "postgres",
		"PostgreSQL: replication lag is high": "postgres", "Host db-1 is unreachable": "linux-host-triage", "web-1 has been restarted": "",
		"Linux: server web-1 has been rebooted": "linux-host-triage", "NodeFilesystemSpaceFillingUp": "disk", "TLS certificate expires soon": "network",
		"Running out of free inodes": "disk", "Everything is fine": "",
	} {
		alert := grouping.Subject{Alert: &ops.Alert{Title: title}, SourceKind: "alertmanager"}
		var got []string
		for _, s := range skills {
			for _, set := range s.About.Match {
				ms, err := grouping.ParseMatchers(set)
				require.NoError(t, err)
				if ms.Match(alert) {
					got = append(got, s.About.Name)
					break
				}
			}
		}
		if want == "" {
			require.Empty(t, got, title)
			continue
		}
		require.Contains(t, got, want, title)
		require.LessOrEqual(t, len(got), 2, "%s: %v", title, got)
	}
}

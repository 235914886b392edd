package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/api"
	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestAgainstTheRealAPI runs every command once: the fake of the other tests
// speaks the contract from memory, and memory errs.
func TestAgainstTheRealAPI(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, tools, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	_, egress, err := seal.GenerateKey(ops.ZoneEgress)
	require.NoError(t, err)
	auditKey, gatewayKey, anchors := ops.NewAuditKey("api"), ops.NewAuditKey("gateway"), t.TempDir()
	auditKeys := ops.AuditKeys{auditKey.Public(), gatewayKey.Public(), ops.NewAuditKey("proxy").Public()}
	ctx, cancel := context.WithCancel(t.Context())
	server, err := api.New(ctx, api.Config{PublicListen: "127.0.0.1:0", AgentListen: "127.0.0.1:0", OpsListen: "127.0.0.1:0",
		DatabaseURL: db.API, WorkerToken: ops.NewToken(ops.WorkerTokenPrefix), ToolsPublicKey: tools.String(), EgressPublicKey: egress.String(),
		GatewayURL: "http://127.0.0.1:1/mcp", ProxyURL: "http://127.0.0.1:1", Log: slog.New(slog.DiscardHandler),
		AuditKey: auditKey.Text(), AuditPublicKeys: ops.NewSecret(auditKeys.String()), AuditAnchors: anchors})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	store, err := postgres.Open(ctx, postgres.Config{URL: db.API})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	hash, err := api.HashPassword(ops.NewSecret("pass word"))
	require.NoError(t, err)
	require.NoError(t, store.CreateUser(ctx, postgres.User{ID: ops.NewID(), Username: "admin", PasswordHash: hash, Roles: []string{"admin"}}))

	env := map[string]string{"XDG_CONFIG_HOME": t.TempDir()}
	ok := func(stdin string, args ...string) string {
		t.Helper()
		got := cli(t, env, stdin, args...)
		require.Equal(t, 0, got.code, "%v: %s", args, got.err)
		return got.out
	}
	require.Equal(t, exitSignedOut, cli(t, env, "wrong", "login", server.PublicURL(), "-u", "admin", "--password-stdin").code)
	ok("pass word\n", "login", server.PublicURL(), "-u", "admin", "--password-stdin")

	require.Regexp(t, `^webhook  http://127\.0\.0\.1:\d+/webhook/alert/[0-9a-f-]{36}\nsecret   akmh_\S+\n$`, ok("", "sources", "add", "prod", "alertmanager"))
	require.Regexp(t, `prod\s+alertmanager\s+yes`, ok("", "sources"))
	private, public, err := fake.NewSSHKey()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "id_ed25519")
	require.NoError(t, os.WriteFile(file, []byte(private.Reveal()), 0o600))
	ok("", "credentials", "add", "root", "--kind", "ssh_key", "--target", "web-*", "--file", file)
	require.Regexp(t, `root\s+ssh_key\s+web-\*\s+1`, ok("", "credentials"))
	ok("", "targets", "add", "web-1", "--address", "127.0.0.1", "--user", "demo", "--credential", "root", "--host-key", public, "--label", "env=prod")
	require.Regexp(t, `web-1\s+ssh\s+127\.0\.0\.1:22\s+demo\s+root\s+1`, ok("", "targets"))
	require.Equal(t, 1, cli(t, env, "", "targets", "add", "web-1", "--address", "127.0.0.1", "--user", "demo", "--host-key", public).code, "the name is taken")
	require.Equal(t, 1, cli(t, env, "", "sources", "add", "no spaces", "alertmanager").code)

	in, err := store.CreateIncident(ctx, postgres.NewIncident{Title: "disk full", Severity: ops.SeverityHigh, Agent: postgres.DefaultAgent, Actor: "service:test"})
	require.NoError(t, err)
	number := strconv.FormatInt(in.Number, 10)
	require.Regexp(t, number+`\s+high\s+triggered\s+queued\s+0\s+\S+ \S+\s+disk full`, ok("", "incidents", "--status", "triggered,acknowledged", "--severity", "high", "-q", "disk"))
	require.Contains(t, ok("", "incident", number), "investigation queued")
	followed := make(chan result, 1)
	go func() { followed <- cli(t, env, "", "incident", in.ID, "--follow") }()
	require.NoError(t, store.CancelRun(ctx, in.ID, "enough"))
	got := <-followed
	require.Equal(t, exitInconclusive, got.code, got.err)
	require.Contains(t, got.out, "investigation cancelled · enough")
	var all struct {
		Incident ops.Incident
		Events   []ops.Event
	}
	require.NoError(t, json.Unmarshal([]byte(ok("", "--json", "incident", number)), &all))
	require.Equal(t, ops.RunCancelled, all.Incident.Investigation)
	require.Len(t, all.Events, int(all.Incident.LastSeq))

	gateway, err := postgres.Open(ctx, postgres.Config{URL: db.Gateway, AuditKey: gatewayKey})
	require.NoError(t, err)
	t.Cleanup(gateway.Close)
	testApprovals(t, store, gateway, in, ok)

	explained := ok("", "policy", "explain", "investigator", "ssh_execute", "df   -h; make")
	require.Contains(t, explained, "ask\n")
	require.Contains(t, explained, "command    df -h; make\n")
	require.Contains(t, explained, "would do   allow:ssh_execute(make)\n")
	require.Regexp(t, `^allow\nrule +allow:zabbix_api\(\*\.get\) \(agent\)\n`, ok("", "policy", "explain", "investigator", "zabbix_api", "method=host.get", "limit:=5"))
	rules := filepath.Join(t.TempDir(), "rules")
	require.NoError(t, os.WriteFile(rules, []byte("# none\n\ndeny:*\nallow:ssh_hosts\n"), 0o600))
	require.Regexp(t, `^deny\nrule +deny:\* \(agent\)`, ok("", "policy", "explain", "investigator", "ssh_hosts", "--rules", rules))
	dry := cli(t, env, "", "policy", "dry-run", "investigator", rules)
	require.Equal(t, 0, dry.code, dry.err)
	require.Contains(t, dry.err, "unreachable")
	require.Contains(t, dry.err, "0 calls were looked at.")
	require.Equal(t, 1, cli(t, env, "", "policy", "explain", "nobody", "ssh_hosts").code)
	require.Equal(t, exitUsage, cli(t, env, "", "policy", "explain", "investigator", "zabbix_api", "limit:=x").code)

	testAudit(t, db, filepath.Join(anchors, "api.jsonl"), auditKeys, func(args ...string) result { return cli(t, env, "", args...) })
}

// testAudit verifies and exports, then once more when the owner of the database has been at it.
func testAudit(t *testing.T, pg *pgtest.DB, anchors string, keys ops.AuditKeys, cli func(...string) result) {
	t.Helper()
	ok := func(args ...string) string {
		t.Helper()
		got := cli(args...)
		require.Equal(t, 0, got.code, got.err)
		return got.out
	}
	require.Eventually(t, func() bool { // the head is kept after a while
		out := cli("audit", "verify", "--chain", "api", "--anchors", anchors)
		return out.code == 0 && strings.Contains(out.out, "anchored to record")
	}, time.Minute, 200*time.Millisecond)
	out := ok("audit", "verify")
	require.Regexp(t, `^api: [1-9]\d* records, unbroken`, out)
	require.Equal(t, 3, strings.Count(out, "unbroken"))

	dir := t.TempDir()
	trusted, file := filepath.Join(dir, "keys"), filepath.Join(dir, "audit.jsonl")
	require.NoError(t, os.WriteFile(trusted, []byte(keys.String()), 0o600))
	ok("audit", "export", "-o", file)
	require.Equal(t, 1, cli("audit", "export", "-o", file).code, "the file is there")
	require.Equal(t, 3, strings.Count(ok("audit", "verify", "--file", file, "--keys", trusted, "--anchors", anchors), "unbroken"))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"record 1: its content":     strings.Replace(string(data), `"chain":"gateway","seq":1,"at":"20`, `"chain":"gateway","seq":1,"at":"19`, 1),
		"it has no last line":       string(data[:strings.LastIndex(string(data), "{\"end\"")]),
		"is no record":              string(data[:len(data)-30]),
		"it is no export":           "{}",
		"only whole chains":         strings.Replace(string(data), `"complete":true`, `"complete":false`, 1),
		"says that there are":       strings.Replace(string(data), "\n", "\n{\"chain\":\"proxy\"}\n", 1),
		"of a chain that is not in": strings.Replace(string(data), "\n", "\n{\"chain\":\"x\"}\n", 1),
	} {
		other := filepath.Join(t.TempDir(), "other.jsonl")
		require.NoError(t, os.WriteFile(other, []byte(text), 0o600))
		got := cli("audit", "verify", "--file", other)
		require.NotZero(t, got.code)
		require.Contains(t, got.err, name)
	}

	conn, err := pgx.Connect(t.Context(), pg.Owner.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	_, err = conn.Exec(t.Context(), `DELETE FROM audit WHERE chain = 'api' AND seq > 3; UPDATE audit SET actor = 'user:nobody' WHERE chain = 'gateway' AND seq = 2`)
	require.NoError(t, err)
	got := cli("audit", "verify", "--anchors", anchors, "--keys", trusted)
	require.Equal(t, exitBroken, got.code)
	require.Contains(t, got.err, "audit chain api is broken at record 4: it is missing")
	require.Contains(t, got.err, "audit chain gateway is broken at record 2: its content")
}

// testApprovals decides on what a gateway has asked.
func testApprovals(t *testing.T, store, gateway *postgres.DB, in ops.Incident, ok func(string, ...string) string) {
	t.Helper()
	require.NoError(t, store.Investigate(t.Context(), in.ID, postgres.DefaultAgent, "service:somebody"))
	runs, err := store.Runs(t.Context(), in.ID)
	require.NoError(t, err)
	risk := ops.RiskMedium
	ask := func(call string) string {
		t.Helper()
		a, err := gateway.AskApproval(t.Context(), ops.Approval{ID: ops.NewID(), RunID: runs[0].ID, CallID: call, IncidentID: in.ID, Agent: "investigator",
			Requester: "user:somebody", Tool: "ssh_execute", Target: "web-1", Command: "rm -r /tmp/\u202ex", Arguments: json.RawMessage(`{}`),
			Subject: []byte("s"), Digest: []byte(call), Risk: risk, Reasons: []string{"no rule matches"}, Needed: 1,
			Facts: map[string]string{"digest": "d-" + call}, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)},
			ops.AuditRecord{Chain: "gateway", At: time.Now(), Actor: "run:x", Action: "approval.requested", Object: "call:" + call, Outcome: "intent"})
		require.NoError(t, err)
		return a.ID
	}
	first, second, third := ask("c1"), ask("c2"), ask("c3")
	listed := ok("", "approvals")
	require.Contains(t, listed, "  │ rm -r /tmp/<U+202E>x\n", "what hides is shown")
	require.Equal(t, 3, strings.Count(listed, "pending, medium risk"))
	require.Contains(t, ok("", "approvals", "deny", first, "-m", "not now"), "denied     by admin not now")
	var decided ops.Approval
	require.NoError(t, json.Unmarshal([]byte(ok("yes\n", "--json", "approvals", "approve", second)), &decided), "the question is not in it")
	require.Equal(t, ops.ApprovalApproved, decided.State)
	require.Contains(t, ok("", "approvals", "approve", third, "--digest", "d-c3", "--minutes", "5"), "approved, medium risk")
	// What is risky needs the password, which is asked for.
	risk = ops.RiskHigh
	fourth := ask("c4")
	require.Contains(t, ok("", "approvals", "approve", fourth, "--digest", "d-c4"), "approved, high risk")
	require.Empty(t, ok("", "approvals"))
	require.Equal(t, 3, strings.Count(ok("", "approvals", "list", "--all"), "medium risk"))
}

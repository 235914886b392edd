package eval

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/stretchr/testify/require"
)

const secretPassword, secretToken = "hunter2-of-the-shop", "ghp_0123456789abcdefghijABCDEFGHIJ"

// withSecrets is a case whose host prints what nobody should pass on, and whose
// run uses every tool that can be exported.
const withSecrets = `
name: with-secrets
about: export
alerts:
  - {title: Shop is slow, severity: high, host: shop-1, service: shop, summary: "DSN is postgres://shop:hunter2-of-the-shop@db-1/shop", labels: {env: prod}}
hosts:
  - name: shop-1
    like: linux
    labels: {env: prod, note: two words}
    files:
      /var/log/shop.log: "connect postgres://shop:hunter2-of-the-shop@db-1/shop failed: timeout\nretry with hunter2-of-the-shop\n"
    commands:
      - {run: journalctl -u shop -n 3, output: "GITHUB_TOKEN=ghp_0123456789abcdefghijABCDEFGHIJ in the environment {{.Names}}\n  pool is exhausted: 50 of 50\n"}
      - {run: psql *, output: " count \n-------\n 50\n(1 row)\n\n"}
  - name: db-1
    like: linux
approved: ["ssh_execute(psql -X -c *SELECT*)"]
expect: {outcome: cause, cause: {all: [pool]}, where: shop-1}
transcript:
  - text: "Which hosts? {{ not a template }}"
    calls:
      - {tool: ssh_hosts, arguments: {}}
      - {tool: ssh_execute, arguments: {target: shop-1, command: journalctl -u shop -n 3}}
      - {tool: ssh_read_file, arguments: {target: shop-1, path: /var/log/shop.log}}
      - {tool: ssh_execute, arguments: {target: shop-1, command: 'psql -X -c "SELECT count(*) FROM pg_stat_activity"'}}
      - {tool: ssh_execute, arguments: {target: db-1, command: nothing-like-it -x}}
      - {tool: ssh_execute, arguments: {target: db-1, command: df -h}}
      - {tool: ssh_execute, arguments: {target: db-1, command: rm -rf /srv}}
  - calls:
      - tool: submit_findings
        arguments:
          summary: The pool of shop-1 is exhausted. The token is ghp_0123456789abcdefghijABCDEFGHIJ.
          root_cause: The connection pool of the shop is exhausted, 50 of 50 (password hunter2-of-the-shop).
          confidence: 0.9
          evidence:
            - {call: c2, excerpt: "pool is exhausted: 50 of 50"}
            - {call: c3, excerpt: "retry with hunter2-of-the-shop"}
            - {call: c4, excerpt: "50"}
            - {call: c6, excerpt: "/dev/sda1        79G"}
          hypotheses:
            - {statement: The pool is too small., verdict: confirmed, evidence: [{call: c2, excerpt: "GITHUB_TOKEN=ghp_0123456789abcdefghijABCDEFGHIJ in the environment"}]}
`

// A run that has ended is asked from the API as a case, without its secrets, and
// as a case it comes to the same.
func TestAnExportedRunPassesAsACase(t *testing.T) {
	t.Parallel()
	c, err := casefile.Read(bytes.NewReader([]byte(withSecrets)))
	require.NoError(t, err)
	db := pgtest.New(t)
	conf := Config{Cases: []casefile.Case{c}, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Database: func(context.Context, string) (Database, error) {
			return Database{API: db.API, Gateway: db.Gateway, Proxy: db.Proxy, Drop: func() error { return nil }}, nil
		}}
	first, err := Run(t.Context(), conf)
	require.NoError(t, err)
	require.Equal(t, Passed, first.Rows[0].Result, "%v %v", first.Rows[0].Why, first.Rows[0].Denied)

	text := export(t, db, filepath.Join(conf.Dir, "case_with_secrets_0"), "/api/v1/incidents/1/runs/newest/case")
	for _, secret := range []string{secretPassword, secretToken} {
		require.NotContains(t, text, secret)
	}
	exported, err := casefile.Read(bytes.NewReader([]byte(text)))
	require.NoError(t, err, text)
	require.True(t, exported.Expect.Unconfirmed)
	require.Equal(t, casefile.ExpectCause, exported.Expect.Outcome)
	require.Equal(t, []string{`ssh_execute(psql -X -c 'SELECT count(*) FROM pg_stat_activity')`}, exported.Approved)
	require.Len(t, exported.Hosts, 2)
	labels := map[string]map[string]string{}
	for _, h := range exported.Hosts {
		labels[h.Name] = h.Labels
	}
	require.Equal(t, map[string]map[string]string{"shop-1": {"env": "prod", "note": "two words"}, "db-1": nil}, labels)

	fresh := pgtest.New(t)
	conf.Cases, conf.Dir = []casefile.Case{exported}, t.TempDir()
	conf.Database = func(context.Context, string) (Database, error) {
		return Database{API: fresh.API, Gateway: fresh.Gateway, Proxy: fresh.Proxy, Drop: func() error { return nil }}, nil
	}
	again, err := Run(t.Context(), conf)
	require.NoError(t, err)
	row := again.Rows[0]
	require.Equal(t, Passed, row.Result, "%v %v", row.Why, row.Denied)
	require.True(t, row.Unconfirmed)
	require.Zero(t, row.Dropped)
	require.Equal(t, len(first.Rows[0].Denied), len(row.Denied))
	require.Equal(t, first.Rows[0].Steps, row.Steps)
}

// export starts the product again on what a case has left, and asks it as a person.
func export(t *testing.T, base *pgtest.DB, dir, path string) string {
	t.Helper()
	state, err := stack.LoadState(dir)
	require.NoError(t, err)
	s, err := stack.New(t.Context(), stack.Config{API: base.API, Gateway: base.Gateway, Proxy: base.Proxy, State: state, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		require.NoError(t, <-ended)
	}()
	db, err := postgres.Open(ctx, postgres.Config{URL: base.API, App: "test"})
	require.NoError(t, err)
	defer db.Close()
	person, err := db.UserByName(ctx, "evaluator")
	require.NoError(t, err)
	token := ops.NewToken(ops.APITokenPrefix)
	require.NoError(t, db.CreateToken(ctx, postgres.APIToken{ID: ops.NewID(), UserID: person.ID, Name: "test", Hash: ops.HashToken(token)}))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.APIURL()+path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
	require.Equal(t, "application/yaml; charset=utf-8", resp.Header.Get("Content-Type"))
	require.Contains(t, resp.Header.Get("Content-Disposition"), "incident-1-")
	return string(text)
}

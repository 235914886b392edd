package postgres_test

import (
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/stretchr/testify/require"
)

func TestToolServers(t *testing.T) {
	t.Parallel()
	urls := pgtest.New(t)
	open := func(url ops.Secret) *postgres.DB {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		require.NoError(t, err)
		t.Cleanup(db.Close)
		return db
	}
	api, gateway := open(urls.API), open(urls.Gateway)
	s := ops.ToolServer{ID: ops.NewID(), Name: "a", Kind: ops.ToolServerHTTP, URL: "https://a.example", Header: "X-Key", AllowPrivate: true, Enabled: true, CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
		Tools: []ops.ServerTool{{Name: "x", Enabled: true, HTTP: &ops.HTTPTool{Description: "d <&>", Method: "GET", Path: "/x"}}}}
	require.NoError(t, api.CreateToolServer(t.Context(), s))
	require.Equal(t, ops.CodeConflict, ops.CodeOf(api.CreateToolServer(t.Context(), ops.ToolServer{ID: ops.NewID(), Name: "a", Kind: "mcp", URL: "https://x"})), "the name is taken")
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(api.CreateToolServer(t.Context(), ops.ToolServer{ID: ops.NewID(), Name: "b", Kind: "mcp", URL: "https://x", Credential: "nope"})))

	all, version, err := gateway.ToolServers(t.Context())
	require.NoError(t, err)
	s.Revision, s.UpdatedAt = 1, s.CreatedAt
	require.Equal(t, []ops.ToolServer{s}, all)
	changed, err := api.ChangeToolServer(t.Context(), s.ID, 1, func(s *ops.ToolServer) error {
		s.URL = "https://b.example"
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, changed.Revision)
	now, err := gateway.ToolsVersion(t.Context())
	require.NoError(t, err)
	require.Greater(t, now, version)
	_, err = api.ChangeToolServer(t.Context(), s.ID, 1, func(*ops.ToolServer) error { return nil })
	require.Equal(t, ops.CodeConflict, ops.CodeOf(err))
	_, err = api.ChangeToolServer(t.Context(), s.ID, 0, func(*ops.ToolServer) error { return ops.Errorf(ops.CodeInvalid, "no") })
	require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
	_, err = api.ChangeToolServer(t.Context(), s.ID, 0, func(s *ops.ToolServer) error {
		s.Tools[0].HTTP.Description = string(make([]byte, 3<<20))
		return nil
	})
	require.Equal(t, ops.CodeTooLarge, ops.CodeOf(err))
	at := time.Now().UTC().Truncate(time.Microsecond)
	require.NoError(t, api.NoteToolServer(t.Context(), s.ID, at, "it is away"))
	stored, err := api.ToolServer(t.Context(), s.ID)
	require.NoError(t, err)
	require.Equal(t, "https://b.example", stored.URL)
	require.Equal(t, at, stored.CheckedAt)
	require.Equal(t, 2, stored.Revision, "a note is no change")

	// The gateway reads. What it may not do, Postgres refuses.
	for _, statement := range []string{
		`UPDATE tool_servers SET url = 'https://evil.example'`, `DELETE FROM tool_servers`, `UPDATE tools_version SET version = 0`,
		`INSERT INTO tool_servers (id, name, kind, url, tools) VALUES (gen_random_uuid(), 'z', 'http', 'x', '[]')`,
	} {
		_, err := gateway.Pool().Exec(t.Context(), statement)
		require.ErrorContains(t, err, "permission denied", statement)
	}
	_, err = open(urls.Proxy).Pool().Exec(t.Context(), `SELECT FROM tool_servers`)
	require.ErrorContains(t, err, "permission denied")

	require.NoError(t, api.DeleteToolServer(t.Context(), s.ID))
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(api.DeleteToolServer(t.Context(), s.ID)))
	_, err = api.ToolServer(t.Context(), s.ID)
	require.Equal(t, ops.CodeNotFound, ops.CodeOf(err))
	all, _, err = gateway.ToolServers(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
}

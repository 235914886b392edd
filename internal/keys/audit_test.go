package keys_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/keys"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
)

// TestASetWithoutAuditKeysGetsThem: the second release had all but these.
func TestASetWithoutAuditKeysGetsThem(t *testing.T) {
	t.Parallel()
	c := config(t)
	made(t, c)
	lacks := []string{"api/audit-key", "api/audit-public-keys", "gateway/audit-key", "proxy/audit-key"}
	for _, f := range append(lacks, "migrate/set") {
		remove(t, c, f)
	}
	writable(t, filepath.Join(c.Dir, "migrate"), func() {
		path := filepath.Join(c.Dir, "migrate/set")
		require.NoError(t, os.WriteFile(path, []byte("2\n"), 0o400))
		require.NoError(t, os.Lchown(path, c.Owners.API, c.Owners.API))
	})
	before := contents(t, c.Dir)
	now, d, err := keys.Make(c)
	require.NoError(t, err)
	require.ElementsMatch(t, lacks, now)
	after := contents(t, c.Dir)
	for name, content := range before {
		if name != "migrate/set" {
			require.Equal(t, content, after[name], name)
		}
	}
	require.Len(t, d.AuditKeys(), 3)
}

// TestWhatWasSignedBeforeARotationIsVerifiable, also in the deployment that a
// backup is restored into.
func TestWhatWasSignedBeforeARotationIsVerifiable(t *testing.T) {
	t.Parallel()
	c := config(t)
	d := made(t, c)
	pg := pgtest.New(t)
	write := func(d *keys.Deployment) *postgres.DB {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: pg.Owner, MaxConns: 4, AuditKey: d.AuditKey("api")})
		require.NoError(t, err)
		t.Cleanup(db.Close)
		require.NoError(t, db.AppendAudit(t.Context(), ops.AuditRecord{Chain: "api", At: time.Now(), Action: "a", Outcome: "ok"}))
		return db
	}
	db := write(d)
	before := contents(t, c.Dir)
	_, err := d.Rotate(t.Context(), db)
	require.NoError(t, err)
	after := contents(t, c.Dir)
	for _, f := range []string{"api/audit-key", "gateway/audit-key", "proxy/audit-key"} {
		require.NotEqual(t, before[f], after[f])
		checkMode(t, filepath.Join(c.Dir, f), owners(c)[filepath.Dir(f)], 0o400)
	}
	again, err := keys.Open(c)
	require.NoError(t, err)
	require.Len(t, again.AuditKeys(), 6)
	write(again)

	other := made(t, config(t))
	rings := map[ops.Zone]seal.Ring{}
	for _, z := range keys.Zones {
		rings[z] = again.Ring(z)
	}
	require.NoError(t, other.Adopt(rings, again.AuditKeys()))
	records, err := db.Audit(t.Context(), "api", 0, 100)
	require.NoError(t, err)
	for name, trusted := range map[string]ops.AuditKeys{"ours": again.AuditKeys(), "of who restored it": other.AuditKeys()} {
		v := ops.NewAuditVerifier("api", trusted, nil)
		require.NoError(t, v.Next(records...), name)
		require.NoError(t, v.End())
	}
	require.ErrorContains(t, ops.NewAuditVerifier("api", d.AuditKeys()[3:], nil).Next(records...), "not trusted")
}

func TestAnchorsBelongToTheirProcesses(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Anchors = t.TempDir()
	made(t, c)
	require.NoError(t, os.Chmod(filepath.Join(c.Anchors, "proxy"), 0o755)) // as a volume may come
	_, _, err := keys.Make(c)
	require.NoError(t, err)
	for chain, uid := range map[string]int{"api": c.Owners.API, "gateway": c.Owners.Gateway, "proxy": c.Owners.Proxy} {
		checkMode(t, filepath.Join(c.Anchors, chain), uid, os.ModeDir|0o700)
	}
}

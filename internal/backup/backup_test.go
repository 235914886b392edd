package backup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/akmatori/akmatori/internal/backup"
	"github.com/akmatori/akmatori/internal/keys"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.IgnoreServer()) }

var passphrase = ops.NewSecret("correct horse battery")

// deployment is one with a database of its own.
type deployment struct {
	backup.Config
	keys keys.Config
	pg   *pgtest.DB
	conn *pgx.Conn // as the owner
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	uid := os.Getuid()
	d := &deployment{pg: pgtest.New(t)}
	d.keys = keys.Config{Dir: t.TempDir(), Owners: keys.Owners{API: uid, Agent: uid, Gateway: uid, Proxy: uid, Postgres: uid},
		Database: keys.Database{Host: "postgres", Port: 5432, Name: "akmatori", Owner: "owner", SSLMode: "disable"}}
	t.Cleanup(func() {
		folders, _ := filepath.Glob(filepath.Join(d.keys.Dir, "*"))
		for _, f := range folders {
			_ = os.Chmod(f, 0o700)
		}
	})
	_, set, err := keys.Make(d.keys)
	require.NoError(t, err)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: d.pg.Owner, App: "test", MaxConns: 4})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	d.conn, err = pgx.Connect(t.Context(), d.pg.Owner.Reveal())
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.conn.Close(context.WithoutCancel(t.Context())) })
	d.Config = backup.Config{DB: db, Keys: set, Passphrase: passphrase, WorkFactor: 10}
	return d
}

func (d *deployment) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := d.conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// hostile is text that a careless format would break.
const hostile = "tab\there, line\nbreak, back\\slash \\. \\N, CR\r, quote ' \", ünï¢ode 🚨"

// fill puts rows into the database that are hard to copy.
func (d *deployment) fill(t *testing.T) {
	t.Helper()
	for i, name := range []string{"login", "second"} {
		cred := ops.Credential{ID: ops.NewID(), Name: name, Kind: "ssh_password", Targets: []string{"web-*", "a,b", `q"uote`, ""}, Version: i + 1}
		var err error
		cred.Sealed, err = d.Keys.Ring(ops.ZoneTools).Public().Seal(cred, ops.NewSecret("secret of "+name))
		require.NoError(t, err)
		require.NoError(t, d.DB.CreateCredential(t.Context(), cred))
	}
	// The first row refers to the second.
	d.exec(t, `INSERT INTO targets (id, name, kind, address, port, credential, jump) VALUES
		(gen_random_uuid(), 'a', 'ssh', '10.0.0.1', 22, 'login', 'z'), (gen_random_uuid(), 'z', 'ssh', '10.0.0.2', 22, NULL, NULL)`)
	d.exec(t, `INSERT INTO users (id, username, password_hash, roles) VALUES (gen_random_uuid(), 'ann', 'h', '{admin}')`)
	for n := range 3 {
		id := ops.NewID()
		d.exec(t, `INSERT INTO incidents (id, title, description, severity, status, opened_at, updated_at) VALUES ($1, $2, $3, 'high', 'closed', now(), now() - interval '1 microsecond')`,
			id, hostile, strings.Repeat("x", n))
		d.exec(t, `INSERT INTO events (incident_id, seq, at, kind, data) VALUES ($1, 1, now(), 'note', $2::json), ($1, 2, now(), 'note', $3::json)`,
			id, `{"text":"\u0000 \\ \n","n":1e999999, "spaced" :  true}`, fmt.Sprintf("%q", strings.Repeat("long ", 300_000)))
	}
	// Nothing can make this smaller: a backup of several chunks.
	noise := make([]byte, 300_000)
	_, _ = rand.Read(noise)
	d.exec(t, `INSERT INTO setup_tokens (hash, expires_at) VALUES ($1, now())`, noise)
	// Behind the last number there was one that was rolled back.
	d.exec(t, `SELECT nextval('incidents_number_seq')`)
	require.NoError(t, d.DB.AppendAudit(t.Context(), ops.AuditRecord{Chain: "gateway", Actor: "run:1", Action: "tool.intent", Object: hostile, Outcome: "intent"}))
}

// rows gives each table's rows as text, in order.
func (d *deployment) rows(t *testing.T) map[string]string {
	t.Helper()
	q, err := d.conn.Query(t.Context(), `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'goose_db_version'`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(q, pgx.RowTo[string])
	require.NoError(t, err)
	out := map[string]string{}
	for _, name := range names {
		var text string
		err := d.conn.QueryRow(t.Context(), `SELECT coalesce(string_agg(r::text, E'\n' ORDER BY r::text), '') FROM `+name+` r`).Scan(&text)
		require.NoError(t, err)
		out[name] = text
	}
	return out
}

func (d *deployment) backup(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	s, err := backup.Write(t.Context(), &out, d.Config)
	require.NoError(t, err)
	require.Equal(t, postgres.Version(), s.Schema)
	require.Positive(t, s.Total())
	return out.Bytes()
}

func TestABackupIsRestored(t *testing.T) {
	t.Parallel()
	old := newDeployment(t)
	old.fill(t)
	_, err := old.Keys.Rotate(t.Context(), old.DB) // two keys in the ring
	require.NoError(t, err)
	data := old.backup(t)
	want := old.rows(t)

	fresh := newDeployment(t)
	fresh.exec(t, `INSERT INTO setup_tokens (hash, expires_at) VALUES ('', now())`) // an api has started once
	s, err := backup.Restore(t.Context(), bytes.NewReader(data), fresh.Config)
	require.NoError(t, err)
	require.Equal(t, int64(3), s.Rows["incidents"])
	have := fresh.rows(t)
	require.Contains(t, have["audit"], "backup.restored")
	delete(want, "audit")
	delete(have, "audit")
	require.Equal(t, want, have)

	for _, chain := range []string{"api", "gateway"} {
		records, err := fresh.DB.Audit(t.Context(), chain, 0, 100)
		require.NoError(t, err)
		require.NotEmpty(t, records)
		_, err = ops.VerifyChain(nil, records)
		require.NoError(t, err)
	}
	var number int64
	require.NoError(t, fresh.conn.QueryRow(t.Context(), `INSERT INTO incidents (id, title, severity, status, opened_at, updated_at)
		VALUES (gen_random_uuid(), 't', 'info', 'closed', now(), now()) RETURNING number`).Scan(&number))
	require.Equal(t, int64(5), number, "numbers go on behind the one that was rolled back")

	// The files of the new deployment are in order and open what was restored.
	_, set, err := keys.Make(fresh.keys)
	require.NoError(t, err)
	require.False(t, set.Interrupted())
	cred, err := fresh.DB.CredentialByName(t.Context(), "second")
	require.NoError(t, err)
	plaintext, err := set.Ring(ops.ZoneTools).Open(cred)
	require.NoError(t, err)
	require.Equal(t, "secret of second", plaintext.Reveal())
	require.Equal(t, old.Keys.Ring(ops.ZoneTools).Public().String(), set.Ring(ops.ZoneTools).Public().String())
	require.Equal(t, old.Keys.Ring(ops.ZoneAPI).Public().String(), set.Ring(ops.ZoneAPI).Public().String())

	_, err = backup.Restore(t.Context(), bytes.NewReader(data), fresh.Config)
	require.ErrorContains(t, err, "not empty")
}

// TestOrdinaryToolsReadIt: what is documented of the format is true, and the
// backup holds no password.
func TestOrdinaryToolsReadIt(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.fill(t)
	data := d.backup(t)
	require.NotContains(t, string(data), "akmatori-private-key")
	var all strings.Builder
	for name, content := range unpack(t, data) {
		require.LessOrEqual(t, len(content), 1<<20, name)
		all.WriteString(content)
	}
	require.Contains(t, all.String(), "akmatori-private-key tools")
	require.Contains(t, all.String(), "akmatori-private-key egress")
	require.Contains(t, all.String(), "akmatori-private-key api")
	for _, secret := range []string{"postgres/password", "agent/worker-token", "migrate/api-password"} {
		content, err := os.ReadFile(filepath.Join(d.keys.Dir, secret))
		require.NoError(t, err)
		require.NotContains(t, all.String(), strings.TrimSpace(string(content)))
	}
	require.NotContains(t, all.String(), "secret of login")
}

func unpack(t *testing.T, data []byte) map[string]string {
	t.Helper()
	identity, err := age.NewScryptIdentity(passphrase.Reveal())
	require.NoError(t, err)
	opened, err := age.Decrypt(bytes.NewReader(data), identity)
	require.NoError(t, err)
	small, err := gzip.NewReader(opened)
	require.NoError(t, err)
	files := map[string]string{}
	for r := tar.NewReader(small); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		files[h.Name] = string(content)
	}
}

// pack is the inverse, in the order that a backup has.
func pack(t *testing.T, files map[string]string, names ...string) []byte {
	t.Helper()
	recipient, err := age.NewScryptRecipient(passphrase.Reveal())
	require.NoError(t, err)
	recipient.SetWorkFactor(10)
	var out bytes.Buffer
	sealed, err := age.Encrypt(&out, recipient)
	require.NoError(t, err)
	small := gzip.NewWriter(sealed)
	w := tar.NewWriter(small)
	for _, name := range names {
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o600}))
		_, err := io.WriteString(w, files[name])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, small.Close())
	require.NoError(t, sealed.Close())
	return out.Bytes()
}

// TestRefused has what must change nothing: neither rows nor keys.
func TestRefused(t *testing.T) {
	t.Parallel()
	old := newDeployment(t)
	old.fill(t)
	data := old.backup(t)
	files := unpack(t, data)
	head := []string{"manifest.json", "keys/tools-key", "keys/egress-key", "keys/api-key"}
	with := func(name, from, to string) map[string]string {
		changed := map[string]string{}
		for n, content := range files {
			changed[n] = content
		}
		require.Contains(t, changed[name], from)
		changed[name] = strings.Replace(changed[name], from, to, 1)
		return changed
	}
	flipped := bytes.Clone(data)
	flipped[len(flipped)/2] ^= 1
	for name, tt := range map[string]struct {
		data       []byte
		passphrase string
		spoil      func(*testing.T, *deployment)
		want       string
	}{
		"wrong passphrase": {data: data, passphrase: "correct horse batterz", want: "the passphrase is wrong"},
		"no passphrase":    {data: data, passphrase: "-", want: "passphrase"},
		"empty":            {data: nil, want: "this is no backup"},
		"another file":     {data: []byte("-- PostgreSQL database dump\n"), want: "this is no backup"},
		"cut in a header":  {data: data[:100], want: "no backup"},
		"cut in the rows":  {data: data[:len(data)/2], want: "cut off"},
		"cut at a chunk":   {data: data[:payload(data)+16+2*(64<<10+16)], want: "cut off"},
		"the last byte":    {data: data[:len(data)-1], want: "cut off or was changed"},
		"a flipped bit":    {data: flipped, want: "cut off or was changed"},
		"more behind it":   {data: append(bytes.Clone(data), 'x'), want: "cut off or was changed"},
		"another schema":   {data: pack(t, with("manifest.json", `"schema":`, `"schema":9`), head...), want: "the database"},
		"another format":   {data: pack(t, with("manifest.json", `"format":1`, `"format":2`), head...), want: "of format 2"},
		"SQL as a table": {data: pack(t, with("manifest.json", `"name":"alerts"`, `"name":"alerts\" FROM PROGRAM 'id' --"`), head...),
			want: "tables are not those of the database"},
		"a broken ring":    {data: pack(t, with("keys/egress-key", " egress ", " tools "), head...), want: "keys/egress-key"},
		"no rows":          {data: pack(t, files, append(head, "end.json")...), want: "does not hold what it says"},
		"no end":           {data: pack(t, files, head...), want: "end.json"},
		"a foreign entry":  {data: pack(t, files, append(head, "../etc/passwd")...), want: "end.json"},
		"keys are missing": {data: pack(t, files, "manifest.json", "end.json"), want: "keys/tools-key"},
		"a user is there": {spoil: func(t *testing.T, d *deployment) {
			d.exec(t, `INSERT INTO users (id, username, password_hash, roles) VALUES (gen_random_uuid(), 'x', '', '{}')`)
		}, data: data, want: "not empty (there are rows in users)"},
		"an older database": {spoil: func(t *testing.T, d *deployment) { d.exec(t, `UPDATE goose_db_version SET version_id = 7000`) }, data: data, want: "and the database 7000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			if tt.passphrase != "" {
				d.Passphrase = ops.NewSecret(strings.TrimPrefix(tt.passphrase, "-"))
			}
			if tt.spoil != nil {
				tt.spoil(t, d)
			}
			rows, ring := d.rows(t), d.Keys.Ring(ops.ZoneTools).Public()
			_, err := backup.Restore(t.Context(), bytes.NewReader(tt.data), d.Config)
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, rows, d.rows(t))
			set, err := keys.Open(d.keys)
			require.NoError(t, err)
			require.Equal(t, ring.String(), set.Ring(ops.ZoneTools).Public().String())
			if strings.HasPrefix(name, "cut") { // and it can be tried again
				d.Passphrase = passphrase
				_, err = backup.Restore(t.Context(), bytes.NewReader(data), d.Config)
				require.NoError(t, err)
			}
		})
	}
}

// payload gives where age's header ends: behind the line of its MAC. What
// follows is a nonce of 16 bytes and chunks of 64 KiB with a tag of 16 bytes each.
func payload(data []byte) int {
	mac := bytes.Index(data, []byte("\n--- ")) + 1
	return mac + bytes.IndexByte(data[mac:], '\n') + 1
}

// TestARestoreThatWasKilledIsDoneAgain: the keys are written, the rows are not.
func TestARestoreThatWasKilledIsDoneAgain(t *testing.T) {
	t.Parallel()
	old := newDeployment(t)
	old.fill(t)
	data := old.backup(t)
	d := newDeployment(t)
	own := d.Keys.Ring(ops.ZoneTools)
	rings := map[ops.Zone]seal.Ring{}
	for _, z := range keys.Zones {
		rings[z] = old.Keys.Ring(z)
	}
	require.NoError(t, d.Keys.Adopt(rings, old.Keys.AuditKeys()))

	set, err := keys.Open(d.keys)
	require.NoError(t, err)
	d.Keys = set
	_, err = backup.Restore(t.Context(), bytes.NewReader(data), d.Config)
	require.NoError(t, err)
	require.Len(t, set.Ring(ops.ZoneTools).Keys(), 2, "that of the backup and our own, once")
	require.Equal(t, own.Public().ID(), set.Ring(ops.ZoneTools).Keys()[1].ID())
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.Passphrase = ops.NewSecret("short")
	var out bytes.Buffer
	_, err := backup.Write(t.Context(), &out, d.Config)
	require.ErrorContains(t, err, "less than 12 characters")
	require.Zero(t, out.Len())
	d.Passphrase = passphrase
	_, err = backup.Write(t.Context(), full{}, d.Config)
	require.ErrorContains(t, err, "no space")
	d.DB.Close()
	_, err = backup.Write(t.Context(), &out, d.Config)
	require.Error(t, err)
	if out.Len() > 0 {
		fresh := newDeployment(t)
		_, err = backup.Restore(t.Context(), &out, fresh.Config)
		require.Error(t, err, "what was begun is not whole")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, fmt.Errorf("no space left") }

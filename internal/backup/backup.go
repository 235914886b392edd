// Package backup writes a deployment, database and key rings, into one
// encrypted stream, and reads it back into an empty deployment.
//
// # Format
//
// age with a passphrase (scrypt), around gzip, around tar, so that it can be
// opened with ordinary tools, too:
//
//	manifest.json        version of the format, schema, tables, sequences
//	keys/tools-key …     the rings, newest key first
//	keys/audit-public-keys
//	                     what the audit is verified with; not in older backups
//	tables/NAME/000001 … rows in COPY's text format, in pieces of at most 1 MiB
//	end.json             the number of rows of each table
//
// The rows are of one snapshot. Passwords of the database and the workers'
// token are not in it: they belong to a deployment and not to its data.
//
// # What holds
//
//   - A backup is whole or it is not restored: age tells a cut stream from one
//     that has ended, and the rows are counted.
//   - A restore is one transaction. The rings are written before its commit, in
//     front of the keys that are there, so that at no moment there are rows that
//     no key opens. A restore that was killed is done again.
//   - Nothing of either is on the disk in clear, and neither needs memory for
//     more than a piece.
package backup

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"filippo.io/age"

	"github.com/akmatori/akmatori/internal/keys"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
)

const (
	format = 1
	piece  = 1 << 20
	// minPassphrase keeps out what can be guessed in spite of scrypt.
	minPassphrase = 12
	// work fits into a container of 256 MiB.
	work = 17
	// maxWork bounds the memory that a file can make us use for its passphrase: 1 GiB.
	maxWork = 20
)

// Names in the archive.
const (
	manifestName = "manifest.json"
	endName      = "end.json"
	keysFolder   = "keys/"
	auditName    = keysFolder + "audit-public-keys"
	tablesFolder = "tables/"
)

var ringNames = map[ops.Zone]string{ops.ZoneTools: keysFolder + "tools-key", ops.ZoneEgress: keysFolder + "egress-key",
	ops.ZoneAPI: keysFolder + "api-key"}

type manifest struct {
	Format int       `json:"format"`
	At     time.Time `json:"at"`
	postgres.Contents
}

type end struct {
	Rows map[string]int64 `json:"rows"`
}

// Summary says what a backup holds.
type Summary struct {
	Schema int64
	At     time.Time
	Rows   map[string]int64 // by table
}

// Total is the number of all rows.
func (s Summary) Total() (n int64) {
	for rows := range maps.Values(s.Rows) {
		n += rows
	}
	return n
}

// Config is what is backed up or restored.
type Config struct {
	DB         *postgres.DB // as its owner
	Keys       *keys.Deployment
	Passphrase ops.Secret
	// WorkFactor is scrypt's, as a power of two; 0 means one that takes half a
	// second and 128 MiB.
	WorkFactor int
}

// Write writes a backup to w.
func Write(ctx context.Context, w io.Writer, c Config) (Summary, error) {
	s := Summary{At: time.Now().UTC().Truncate(time.Second)}
	if len(c.Passphrase.Reveal()) < minPassphrase {
		return s, fmt.Errorf("backup: the passphrase has less than %d characters", minPassphrase)
	}
	recipient, err := age.NewScryptRecipient(c.Passphrase.Reveal())
	if err != nil {
		return s, fmt.Errorf("backup: %w", err)
	}
	if c.WorkFactor == 0 {
		c.WorkFactor = work
	}
	recipient.SetWorkFactor(c.WorkFactor)
	sealed, err := age.Encrypt(w, recipient)
	if err != nil {
		return s, fmt.Errorf("backup: %w", err)
	}
	small, err := gzip.NewWriterLevel(sealed, gzip.BestSpeed)
	if err != nil {
		return s, fmt.Errorf("backup: %w", err)
	}
	a := &archive{tar: tar.NewWriter(small), at: s.At}
	err = c.DB.Exclusive(ctx, func(ctx context.Context) error { // no rotation between the rows and the rings
		record := ops.AuditRecord{Chain: "api", At: time.Now(), Actor: "operator", Action: "backup.written", Object: "deployment", Outcome: "intent"}
		if err := c.DB.AppendAudit(ctx, record); err != nil {
			return err
		}
		return a.write(ctx, c, &s)
	})
	// The end of each layer is what says that the backup is whole: not after an error.
	for _, closing := range []func() error{a.tar.Close, small.Close, sealed.Close} {
		if err == nil {
			err = closing()
		}
	}
	if err != nil {
		return s, fmt.Errorf("backup: %w", err)
	}
	return s, nil
}

// archive is a tar that is written in one go.
type archive struct {
	tar *tar.Writer
	at  time.Time
}

func (a *archive) write(ctx context.Context, c Config, s *Summary) error {
	rows, err := c.DB.Dump(ctx,
		func(have postgres.Contents) error {
			s.Schema = have.Schema
			if err := a.json(manifestName, manifest{Format: format, At: s.At, Contents: have}); err != nil {
				return err
			}
			for _, zone := range keys.Zones {
				text, err := c.Keys.Ring(zone).Text()
				if err != nil {
					return err
				}
				if err := a.add(ringNames[zone], []byte(text.Reveal())); err != nil {
					return err
				}
			}
			return a.add(auditName, []byte(c.Keys.AuditKeys().String()))
		},
		func(t postgres.Table) io.WriteCloser { return &pieces{archive: a, table: t.Name} })
	if err != nil {
		return err
	}
	s.Rows = rows
	return a.json(endName, end{Rows: rows})
}

func (a *archive) json(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.add(name, data)
}

func (a *archive) add(name string, data []byte) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o600, ModTime: a.at}); err != nil {
		return err
	}
	_, err := a.tar.Write(data)
	return err
}

// Restore reads a backup into an empty database and makes its keys ours. Other
// processes must not use the database meanwhile.
func Restore(ctx context.Context, r io.Reader, c Config) (Summary, error) {
	s, err := restore(ctx, r, c)
	if err != nil {
		return Summary{}, fmt.Errorf("restore: %w", err)
	}
	return s, nil
}

func restore(ctx context.Context, r io.Reader, c Config) (Summary, error) {
	identity, err := age.NewScryptIdentity(c.Passphrase.Reveal())
	if err != nil {
		return Summary{}, err
	}
	identity.SetMaxWorkFactor(maxWork)
	opened, err := age.Decrypt(bufio.NewReader(r), identity)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return Summary{}, ops.Errorf(ops.CodeForbidden, "the passphrase is wrong")
	}
	if err != nil {
		return Summary{}, fmt.Errorf("this is no backup: %w", err)
	}
	stream := &whole{Reader: opened}
	s, err := load(ctx, stream, c)
	if stream.err != nil {
		return s, fmt.Errorf("the backup is cut off or was changed, and nothing is restored: %w", stream.err)
	}
	return s, err
}

// load reads what is inside the encryption.
func load(ctx context.Context, opened io.Reader, c Config) (s Summary, err error) {
	small, err := gzip.NewReader(opened)
	if err != nil {
		return s, err
	}
	in := &entries{tar: tar.NewReader(small)}
	if err := in.next(); err != nil {
		return s, err
	}
	m, rings, audit, err := head(in)
	if err != nil {
		return s, err
	}
	s.Schema, s.At = m.Schema, m.At
	err = c.DB.Exclusive(ctx, func(ctx context.Context) error {
		return c.DB.Load(ctx, m.Contents,
			func(t postgres.Table) io.Reader { return table{in, tablesFolder + t.Name + "/"} },
			func(rows map[string]int64) (ops.AuditRecord, error) {
				s.Rows = rows
				if err := tail(in, opened, small, rows); err != nil {
					return ops.AuditRecord{}, err
				}
				return ops.AuditRecord{Chain: "api", At: time.Now(), Actor: "operator", Action: "backup.restored", Object: "deployment", Outcome: "ok",
					Detail: map[string]string{"of": m.At.Format(time.RFC3339)}}, c.Keys.Adopt(rings, audit)
			})
	})
	return s, err
}

// head reads what comes before the rows.
func head(in *entries) (m manifest, rings map[ops.Zone]seal.Ring, audit ops.AuditKeys, err error) {
	data, err := in.content(manifestName, piece)
	if err != nil {
		return m, nil, nil, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, nil, nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Format != format {
		return m, nil, nil, ops.Errorf(ops.CodeConflict, "the backup is of format %d and this program knows %d: restore with the release that made it", m.Format, format)
	}
	rings = map[ops.Zone]seal.Ring{}
	for _, zone := range keys.Zones {
		text, err := in.content(ringNames[zone], piece)
		if err != nil {
			return m, nil, nil, err
		}
		if rings[zone], err = seal.ParseRing(zone, ops.NewSecret(string(text))); err != nil {
			return m, nil, nil, fmt.Errorf("%s: %w", ringNames[zone], err)
		}
	}
	if in.name == auditName {
		text, err := in.content(auditName, piece)
		if err != nil {
			return m, nil, nil, err
		}
		if audit, err = ops.ParseAuditKeys(string(text)); err != nil {
			return m, nil, nil, fmt.Errorf("%s: %w", auditName, err)
		}
	}
	return m, rings, audit, nil
}

// tail checks that the stream has ended as it should, in each of its layers.
func tail(in *entries, opened, small io.Reader, rows map[string]int64) error {
	data, err := in.content(endName, piece)
	if err != nil {
		return err
	}
	var e end
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("%s: %w", endName, err)
	}
	if in.name != "" || !maps.Equal(e.Rows, rows) {
		return errors.New("the backup does not hold what it says")
	}
	for _, layer := range []io.Reader{small, opened} {
		if _, err := io.Copy(io.Discard, layer); err != nil {
			return err
		}
	}
	return nil
}

// whole remembers why a stream could not be read to its end: what reads it may
// say something else of that, as the database does of rows that do not come.
type whole struct {
	io.Reader
	err error
}

// Read implements [io.Reader].
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

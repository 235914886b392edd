package keys

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
)

// settle is how old the api's public key must be before keys that are older
// than it are pruned: a request that has sealed with the one before has ended.
const settle = time.Minute

// Rotation is what a rotation did.
type Rotation struct {
	Keys     map[ops.Zone]string // ids of the newest keys
	Resealed int
	// Damaged names what does not open with any key: it was left as it is, and
	// must be added anew.
	Damaged []string
}

// Rotate adds a key to each ring, makes it the one that the api seals with, and
// seals every credential and webhook secret with it. The old keys stay until [Deployment.Prune].
// Each process gets a new key for its audit, too, and what it has signed stays
// verifiable. Processes that run meanwhile need no restart: gateway and proxy read their
// ring again when they meet a key that they do not know, the api its keys before
// it uses them; the audit is signed with the key of before until they start anew. A rotation that was interrupted is gone on with.
func (d *Deployment) Rotate(ctx context.Context, db *postgres.DB) (r Rotation, err error) {
	err = db.Exclusive(ctx, func(ctx context.Context) error {
		if err := db.AppendAudit(ctx, record("keys.rotated", "intent", nil)); err != nil {
			return err
		}
		for _, z := range Zones {
			if err := d.advance(z); err != nil {
				return err
			}
		}
		if err := d.rotateAudit(); err != nil {
			return err
		}
		return db.Reseal(ctx, func(all []ops.Credential) ([]postgres.Resealed, []ops.AuditRecord, error) {
			r = Rotation{Keys: map[ops.Zone]string{}}
			forms, err := d.reseal(all, &r)
			detail := map[string]string{"resealed": strconv.Itoa(r.Resealed), "damaged": strings.Join(r.Damaged, " ")}
			for _, z := range Zones {
				r.Keys[z] = d.Ring(z).Public().ID()
				detail["key_"+string(z)] = r.Keys[z]
			}
			return forms, []ops.AuditRecord{record("keys.rotated", "ok", detail)}, err
		})
	})
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate: %w", err)
	}
	return r, nil
}

// currentFile is what the api reads to seal to a zone.
func currentFile(z ops.Zone) string {
	if z == ops.ZoneAPI {
		return ringFile(z)
	}
	return publicFile(z)
}

// advance gives a zone a new key, or finishes what a killed rotation began.
func (d *Deployment) advance(z ops.Zone) error {
	ring := d.values.rings[z]
	if z == ops.ZoneAPI || ring.Public().ID() == d.public[z].ID() {
		key, _, err := seal.GenerateKey(z)
		if err != nil {
			return err
		}
		if ring, err = seal.NewRing(append([]seal.PrivateKey{key}, ring.Keys()...)...); err != nil {
			return err
		}
	}
	return d.setRing(z, ring)
}

// setRing writes a ring and then the public key that belongs to it.
func (d *Deployment) setRing(z ops.Zone, ring seal.Ring) error {
	text, err := ring.Text()
	if err != nil {
		return err
	}
	if err := d.c.replace(ringFile(z), text); err != nil {
		return err
	}
	d.values.rings[z] = ring
	if z == ops.ZoneAPI || ring.Public().ID() == d.public[z].ID() {
		return nil
	}
	if err := d.c.replace(publicFile(z), ops.NewSecret(ring.Public().String())); err != nil {
		return err
	}
	d.public[z] = ring.Public()
	return nil
}

// reseal gives what was sealed with older keys, sealed with the newest, and marks
// by the newest of the zone api. Versions stay: the secrets are the same.
func (d *Deployment) reseal(all []ops.Credential, r *Rotation) ([]postgres.Resealed, error) {
	forms := make([]postgres.Resealed, len(all))
	for i, c := range all {
		ring := d.values.rings[ops.CredentialKinds[c.Kind]]
		plaintext, err := ring.Open(c)
		if err != nil {
			r.Damaged = append(r.Damaged, c.Name)
			continue
		}
		if forms[i].Mark, err = d.Ring(ops.ZoneAPI).Mark(c, plaintext); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		if seal.KeyID(c.Sealed) == ring.Public().ID() {
			continue
		}
		if forms[i].Sealed, err = ring.Public().Seal(c, plaintext); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		r.Resealed++
	}
	return forms, nil
}

// Prune takes the keys out of the rings that nothing is sealed with any more,
// and gives their ids. The newest one stays.
func (d *Deployment) Prune(ctx context.Context, db *postgres.DB) (pruned []string, err error) {
	err = db.Exclusive(ctx, func(ctx context.Context) error {
		if d.Interrupted() {
			return ops.Errorf(ops.CodeConflict, "a rotation was interrupted: run it again first")
		}
		for _, z := range Zones {
			info, err := os.Stat(d.c.path(currentFile(z)))
			if err != nil {
				return err
			}
			if age := time.Since(info.ModTime()); age >= 0 && age < settle && len(d.Ring(z).Keys()) > 1 {
				return ops.Errorf(ops.CodeConflict, "the last rotation is %s old: prune when it is %s old, so that nobody still seals with an older key",
					age.Round(time.Second), settle)
			}
		}
		if err := db.AppendAudit(ctx, record("keys.pruned", "intent", nil)); err != nil {
			return err
		}
		return db.Reseal(ctx, func(all []ops.Credential) ([]postgres.Resealed, []ops.AuditRecord, error) {
			now, err := d.prune(all)
			pruned = append(pruned, now...) // of a try whose commit failed, too: they are gone
			return nil, []ops.AuditRecord{record("keys.pruned", "ok", map[string]string{"keys": strings.Join(pruned, " ")})}, err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	return pruned, nil
}

// prune is called while no credential can be added.
func (d *Deployment) prune(all []ops.Credential) (pruned []string, err error) {
	used := map[string]bool{}
	for _, c := range all {
		used[seal.KeyID(c.Sealed)] = true
	}
	for _, z := range Zones {
		keys := d.values.rings[z].Keys()
		kept := slices.DeleteFunc(keys[1:], func(k seal.PrivateKey) bool {
			if !used[k.ID()] {
				pruned = append(pruned, k.ID())
			}
			return !used[k.ID()]
		})
		ring, err := seal.NewRing(append(keys[:1:1], kept...)...)
		if err != nil {
			return nil, err
		}
		if len(ring.Keys()) == len(d.values.rings[z].Keys()) {
			continue
		}
		if err := d.setRing(z, ring); err != nil {
			return nil, err
		}
	}
	return pruned, nil
}

// Adopt puts the rings of another deployment, from its backup, before the keys
// that are there. Those have sealed nothing in an empty database and go with
// the next [Deployment.Prune]. What the other has signed is verifiable here; its
// private keys for that are not in a backup.
func (d *Deployment) Adopt(rings map[ops.Zone]seal.Ring, audit ops.AuditKeys) error {
	d.values.auditPublic = d.values.auditPublic.With(audit...)
	if err := d.setAuditPublic(); err != nil {
		return err
	}
	for _, z := range Zones {
		keys := rings[z].Keys()
		for _, k := range d.values.rings[z].Keys() {
			if !slices.ContainsFunc(keys, func(have seal.PrivateKey) bool { return have.ID() == k.ID() }) {
				keys = append(keys, k)
			}
		}
		ring, err := seal.NewRing(keys...)
		if err != nil {
			return err
		}
		if err := d.setRing(z, ring); err != nil {
			return err
		}
	}
	return nil
}

// record is of the chain "api": that of what people do.
func record(action, outcome string, detail map[string]string) ops.AuditRecord {
	return ops.AuditRecord{Chain: "api", At: time.Now(), Actor: "operator", Action: action, Object: "deployment", Outcome: outcome, Detail: detail}
}

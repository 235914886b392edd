package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/akmatori/akmatori/internal/ops"
)

// auditPublicFile has the public keys of all chains, those from before a
// rotation as well: what they signed stays verifiable. It is not secret; who
// verifies the audit without trusting the api takes it from here.
const auditPublicFile = "api/audit-public-keys"

// auditFile has the key of a chain, in the folder of the only process that
// writes it.
func auditFile(chain string) string { return chain + "/audit-key" }

// newAuditKeys makes a key for each chain.
func (v *values) newAuditKeys() {
	v.audit = map[string]ops.AuditKey{}
	for _, chain := range ops.AuditChains {
		v.audit[chain] = ops.NewAuditKey(chain)
		v.auditPublic = v.auditPublic.With(v.audit[chain].Public())
	}
}

// parseAudit reads the keys, if this set has them, and says what is wrong.
func (v *values) parseAudit(files map[string]ops.Secret) (wrong []string) {
	text, ok := files[auditPublicFile]
	if !ok {
		return nil
	}
	var err error
	if v.auditPublic, err = ops.ParseAuditKeys(text.Reveal()); err != nil {
		wrong = append(wrong, fmt.Sprintf("%s (%v)", auditPublicFile, err))
	}
	v.audit = map[string]ops.AuditKey{}
	for _, chain := range ops.AuditChains {
		key, err := ops.ParseAuditKey(chain, files[auditFile(chain)])
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s (%v)", auditFile(chain), err))
		case len(v.auditPublic.With(key.Public())) > len(v.auditPublic):
			wrong = append(wrong, fmt.Sprintf("%s (its public key is not in %s)", auditFile(chain), auditPublicFile))
		}
		v.audit[chain] = key
	}
	return wrong
}

// AuditKey signs records of a chain.
func (d *Deployment) AuditKey(chain string) ops.AuditKey { return d.values.audit[chain] }

// AuditKeys verify the audit of this deployment.
func (d *Deployment) AuditKeys() ops.AuditKeys { return d.values.auditPublic }

// rotateAudit gives each chain a new key. The public ones are there before
// anything is signed with them; those of before stay, their private ones do not.
func (d *Deployment) rotateAudit() error {
	before := d.values.audit
	d.values.newAuditKeys()
	if err := d.setAuditPublic(); err != nil {
		d.values.audit = before
		return err
	}
	for _, chain := range ops.AuditChains {
		if err := d.c.replace(auditFile(chain), d.values.audit[chain].Text()); err != nil {
			return err
		}
	}
	return nil
}

func (d *Deployment) setAuditPublic() error {
	text := ops.NewSecret(d.values.auditPublic.String())
	if len(text.Reveal()) > maxFile-1 {
		return ops.Errorf(ops.CodeConflict, "%s is full: there were too many rotations", auditPublicFile)
	}
	return d.c.replace(auditPublicFile, text)
}

// makeAnchors gives each process the folder that it alone writes the heads of
// its audit into.
func (c Config) makeAnchors() error {
	if c.Anchors == "" {
		return nil
	}
	owners := map[string]int{"api": c.Owners.API, "gateway": c.Owners.Gateway, "proxy": c.Owners.Proxy}
	for _, chain := range ops.AuditChains {
		folder := filepath.Join(c.Anchors, chain)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("anchors: %w", err)
		}
		if err := errors.Join(os.Chmod(folder, 0o700), os.Lchown(folder, owners[chain], owners[chain])); err != nil {
			return fmt.Errorf("anchors: %w", err)
		}
	}
	return nil
}

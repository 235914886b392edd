package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/seal"
)

// State is what one deployment keeps: made once, the same after a restart.
type State struct {
	Passwords                 map[string]ops.Secret // database role to password
	WorkerToken               ops.Secret
	ToolsKey, EgressKey       ops.Secret // private keys
	APIKey                    ops.Secret // of the api's own zone
	ToolsPublic, EgressPublic string
	AuditKeys                 map[string]ops.Secret // by chain
	AuditPublic               ops.Secret            // those that verify them
	Anchors                   string                // folder of the heads of the audit
	dir                       string
}

// LoadState reads the state in dir and makes what is missing. Files are
// readable by their owner alone.
func LoadState(dir string) (*State, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	s := &State{Passwords: map[string]ops.Secret{}, dir: dir}
	var err error
	for _, role := range postgres.Roles {
		if s.Passwords[role], err = s.Keep(role+".password", token("")); err != nil {
			return nil, err
		}
	}
	if s.WorkerToken, err = s.Keep("worker.token", token(ops.WorkerTokenPrefix)); err != nil {
		return nil, err
	}
	if s.ToolsKey, s.ToolsPublic, err = s.zone(ops.ZoneTools); err != nil {
		return nil, err
	}
	if s.EgressKey, s.EgressPublic, err = s.zone(ops.ZoneEgress); err != nil {
		return nil, err
	}
	if s.APIKey, _, err = s.zone(ops.ZoneAPI); err != nil {
		return nil, err
	}
	return s, s.audit()
}

// Keys are those that a configuration file is loaded with.
func (s *State) Keys() config.Keys {
	return config.Keys{Tools: s.ToolsPublic, Egress: s.EgressPublic, API: s.APIKey}
}

// audit makes the keys of the audit and the folder of its heads.
func (s *State) audit() error {
	s.AuditKeys = map[string]ops.Secret{}
	var public ops.AuditKeys
	for _, chain := range ops.AuditChains {
		text, err := s.Keep("audit-"+chain+".key", func() (ops.Secret, error) { return ops.NewAuditKey(chain).Text(), nil })
		if err != nil {
			return err
		}
		key, err := ops.ParseAuditKey(chain, text)
		if err != nil {
			return fmt.Errorf("state: audit-%s.key: %w", chain, err)
		}
		s.AuditKeys[chain], public = text, public.With(key.Public())
	}
	s.AuditPublic, s.Anchors = ops.NewSecret(public.String()), filepath.Join(s.dir, "audit")
	if err := os.MkdirAll(s.Anchors, 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// Keep gives the content of a file of the state, which generate fills once.
func (s *State) Keep(name string, generate func() (ops.Secret, error)) (ops.Secret, error) {
	path := filepath.Join(s.dir, name)
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return ops.NewSecret(string(data)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ops.Secret{}, fmt.Errorf("state: %w", err)
	}
	secret, err := generate()
	if err != nil {
		return ops.Secret{}, fmt.Errorf("state: %s: %w", name, err)
	}
	// Written beside and renamed: a kill leaves no half of it.
	if err := os.WriteFile(path+".new", []byte(secret.Reveal()), 0o600); err != nil {
		return ops.Secret{}, fmt.Errorf("state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return ops.Secret{}, fmt.Errorf("state: %w", err)
	}
	return secret, nil
}

// zone gives the private key of a zone and the public key that belongs to it.
func (s *State) zone(zone ops.Zone) (private ops.Secret, public string, err error) {
	private, err = s.Keep(string(zone)+".key", func() (ops.Secret, error) {
		key, _, err := seal.GenerateKey(zone)
		if err != nil {
			return ops.Secret{}, err
		}
		return key.Text()
	})
	if err != nil {
		return ops.Secret{}, "", err
	}
	ring, err := seal.ParseRing(zone, private)
	if err != nil {
		return ops.Secret{}, "", fmt.Errorf("state: %s.key: %w", zone, err)
	}
	return private, ring.Public().String(), nil
}

func token(prefix string) func() (ops.Secret, error) {
	return func() (ops.Secret, error) { return ops.NewToken(prefix), nil }
}

package api

import (
	"cmp"
	"context"
	"maps"
	"net"
	"strconv"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// A target that is changed keeps its name, which rules, roles, credentials and
// tokens speak of. The rest is judged as if it were created: the two have one check.

// changedTarget says what is to be another way. What is left out stays.
type changedTarget struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Address    *string            `json:"address,omitempty" maxLength:"253" pattern:"^[A-Za-z0-9._:-]+$" doc:"Of ssh: host name or IP address."`
		Port       *int               `json:"port,omitempty" minimum:"1" maximum:"65535" doc:"Of ssh."`
		URL        *string            `json:"url,omitempty" maxLength:"1000" doc:"Of zabbix: where its frontend is."`
		CA         *string            `json:"ca,omitempty" maxLength:"65536" doc:"Of zabbix: certificates in PEM form that alone may have signed its own; empty: those that the system trusts."`
		User       *string            `json:"user,omitempty" maxLength:"64" pattern:"^([A-Za-z0-9_][A-Za-z0-9._@-]*)?$" doc:"Who logs in; empty, of zabbix alone: nobody by name."`
		HostKey    *string            `json:"host_key,omitempty" maxLength:"16384" doc:"Of ssh: its public keys, as for a new target. Left out while address, port or jump change: none is pinned any more, and nothing logs in until somebody has accepted its key."`
		Credential *string            `json:"credential,omitempty" maxLength:"100" doc:"A credential's name; empty: none."`
		Labels     *map[string]string `json:"labels,omitempty" doc:"All of them."`
		Jump       *string            `json:"jump,omitempty" maxLength:"100" doc:"The name of the target that connections go through; empty: none."`
	}
}

// over gives the target as one would create it with the changes.
func (c *changedTarget) over(t ops.Target) *newTarget {
	in, b := &newTarget{}, c.Body
	n := &in.Body
	n.Name, n.Kind, n.User, n.HostKey, n.CA, n.Credential, n.Labels, n.Jump = t.Name, t.Kind, t.User, t.HostKey, t.CA, t.Credential, t.Labels, t.Jump
	if t.Kind == "zabbix" {
		n.URL = t.Scheme + "://" + net.JoinHostPort(t.Address, strconv.Itoa(t.Port)) + t.Path
	} else {
		n.Address, n.Port = t.Address, t.Port
	}
	for _, f := range []struct{ to, from *string }{{&n.Address, b.Address}, {&n.URL, b.URL}, {&n.CA, b.CA}, {&n.User, b.User}, {&n.Credential, b.Credential}, {&n.Jump, b.Jump}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if b.Port != nil {
		n.Port = *b.Port
	}
	if b.Labels != nil {
		n.Labels = *b.Labels
	}
	switch {
	case b.HostKey != nil:
		n.HostKey = *b.HostKey
	case n.Address != t.Address || n.Port != t.Port || n.Jump != t.Jump:
		n.HostKey = "" // it may be another host
	}
	return in
}

// changeTarget changes a target. Calls that are under way go on where they are;
// the gateway keeps no connection that was made for what the target was.
func (s *API) changeTarget(ctx context.Context, who caller, in *changedTarget) (*answer[shownTarget], error) {
	seen, err := s.target(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	t, err := s.checkedTarget(ctx, ops.Target{ID: seen.ID, CreatedAt: seen.CreatedAt}, in.over(seen))
	if err != nil {
		return nil, err
	}
	err = s.audited(ctx, who, "target.changed", t.ID, changes(seen, t), func() error { return s.db.UpdateTarget(ctx, seen, t) })
	if err != nil {
		return nil, err
	}
	return &answer[shownTarget]{show(t)}, nil
}

// changes says what of a target is another way now, and what it was.
func changes(before, after ops.Target) map[string]string {
	place := func(t ops.Target) string {
		at := net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
		if t.Scheme != "" {
			at = t.Scheme + "://" + at + t.Path
		}
		return at
	}
	keys := func(t ops.Target) string {
		var prints []string
		for _, k := range pinnedKeys(t.HostKey) {
			prints = append(prints, k.Fingerprint)
		}
		return strings.Join(prints, " ")
	}
	detail := map[string]string{"name": after.Name}
	for _, f := range []struct{ name, was, is string }{
		{"address", place(before), place(after)}, {"user", before.User, after.User}, {"credential", before.Credential, after.Credential},
		{"jump", before.Jump, after.Jump}, {"host_keys", keys(before), keys(after)},
	} {
		if f.was != f.is {
			detail[f.name] = cmp.Or(f.was, "none") + " → " + cmp.Or(f.is, "none")
		}
	}
	if before.CA != after.CA {
		detail["ca"] = "changed"
	}
	if !maps.Equal(before.Labels, after.Labels) {
		detail["labels"] = "changed"
	}
	return detail
}

// maxJumps is how far a way is followed to see whether it leads back. The gateway
// judges what it may use by itself.
const maxJumps = 16

// checkJump refuses a way that leads through the target itself, or through what is no host.
func (s *API) checkJump(ctx context.Context, t ops.Target) error {
	if t.Jump == "" {
		return nil
	}
	way, err := s.db.Way(ctx, storable(t.Jump), maxJumps)
	if err != nil {
		return err
	}
	for _, stop := range way {
		switch {
		case stop.Name == t.Name:
			return ops.Errorf(ops.CodeInvalid, "the way through %s leads back to %s: it must not be its own jump host", t.Jump, t.Name)
		case stop.Kind != "ssh":
			return ops.Errorf(ops.CodeInvalid, "jump leads through %s, which is no host for ssh", stop.Name)
		}
	}
	if len(way) == 0 {
		return ops.Errorf(ops.CodeInvalid, "jump names no target")
	}
	return nil
}

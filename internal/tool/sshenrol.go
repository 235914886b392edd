package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"golang.org/x/crypto/ssh"
)

// enrolTimeout bounds what a person waits for, before whoever asks for them gives up.
const enrolTimeout = 18 * time.Second

// sshHostKeys is for the enrolment of a host: it shows what the host has. The
// hosts on the way to it are logged in to, and so must be enrolled.
func sshHostKeys(pool *Pool) Tool {
	return Tool{
		Name:        "ssh_host_keys",
		Description: description("ssh_host_keys"),
		Fields:      []Field{hostField},
		Target:      "target",
		Kind:        "ssh",
		Keyless:     true,
		Service:     true,
		Limit:       func(Args) time.Duration { return enrolTimeout },
		Run: func(ctx context.Context, c Call) (Outcome, error) {
			keys, err := pool.hostKeys(ctx, c.Hops)
			if err != nil {
				return Outcome{}, err
			}
			var b strings.Builder
			for _, k := range keys {
				fmt.Fprintf(&b, "%s %s\n", k.Type, k.Fingerprint)
			}
			data, err := json.Marshal(keys)
			return Outcome{Text: b.String(), Data: data}, err
		},
	}
}

// keyTypes are the kinds of keys that a host may have, with the algorithms that
// prove them: a handshake shows one. [certificates] are asked for first, since
// a host that has one may prove it with no other algorithm.
var keyTypes = [][]string{
	certificates,
	{ssh.KeyAlgoED25519},
	{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521},
	{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
}

// hostKeys asks the last of hops for its keys, one handshake each.
func (p *Pool) hostKeys(ctx context.Context, hops []Hop) (keys []ops.HostKey, err error) {
	clients, _, err := logins(ctx, p.dial, hops[:len(hops)-1])
	if err != nil {
		return nil, err
	}
	defer closeAll(clients)
	dial, last := p.dial, hops[len(hops)-1]
	if n := len(clients); n > 0 {
		dial = clients[n-1].DialContext
	}
	pinned, err := pins(last.Target)
	if err != nil {
		pinned = trust{} // what is pinned cannot be read: then nothing is
	}
	for _, algorithms := range keyTypes {
		one, cancel := context.WithTimeout(ctx, enrolTimeout/3)
		key, err := offer(one, dial, last.Target, algorithms)
		cancel()
		switch {
		case err == nil && key != nil:
			keys = append(keys, hostKey(last.Target, pinned, key))
		case noCommonHostKey(err):
		case len(keys) == 0:
			return nil, explain(one, last, err)
		}
	}
	if len(keys) == 0 {
		return nil, ops.Errorf(ops.CodeUnavailable, "%s has no host key of a type that is known here", last.Target.Name)
	}
	return keys, nil
}

// hostKey describes a key that a host has proved to have.
func hostKey(t ops.Target, pinned trust, key ssh.PublicKey) ops.HostKey {
	k := ops.HostKey{Pinned: pinned.check(t, key)}
	if c, ok := key.(*ssh.Certificate); ok {
		k.Authority = &ops.HostKey{Type: c.SignatureKey.Type(), Fingerprint: ssh.FingerprintSHA256(c.SignatureKey), Key: publicLine(c.SignatureKey)}
		k.Principals = c.ValidPrincipals
		key = c.Key
	}
	k.Type, k.Fingerprint, k.Key = key.Type(), ssh.FingerprintSHA256(key), publicLine(key)
	return k
}

func publicLine(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

// sshLogin shows that a host can be worked on: way, host key, credential, and a
// channel for commands. It uses no pooled connection, which would show what was.
func sshLogin(pool *Pool) Tool {
	return Tool{
		Name:        "ssh_login",
		Description: description("ssh_login"),
		Fields:      []Field{hostField},
		Target:      "target",
		Kind:        "ssh",
		Service:     true,
		Limit:       func(Args) time.Duration { return enrolTimeout },
		Run: func(ctx context.Context, c Call) (Outcome, error) {
			clients, _, err := logins(ctx, pool.dial, c.Hops)
			if err != nil {
				return Outcome{}, err
			}
			defer closeAll(clients)
			target := c.Hops[len(c.Hops)-1].Target
			stop := context.AfterFunc(ctx, func() { closeAll(clients) })
			defer stop()
			err = noop(clients[len(clients)-1])
			if exit, ended := errors.AsType[*ssh.ExitError](err); ended {
				return Outcome{}, ops.Errorf(ops.CodeUnavailable, "%s takes the login of %s, but runs no commands for it: its shell ended with status %d", target.Name, target.User, exit.ExitStatus())
			}
			if err != nil {
				return Outcome{}, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s takes the login of %s, but runs no commands for it", target.Name, target.User), err)
			}
			return Outcome{Text: fmt.Sprintf("%s takes the login of %s and runs commands for it\n", target.Name, target.User)}, nil
		},
	}
}

// noop runs nothing, in any shell.
func noop(client *ssh.Client) error {
	s, err := client.NewSession()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	s.Stdout, s.Stderr = io.Discard, io.Discard
	return s.Run("exit 0")
}

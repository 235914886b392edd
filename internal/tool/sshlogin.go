package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"golang.org/x/crypto/ssh"
)

// A Hop is one host on the way to a target, or the target.
type Hop struct {
	Target     ops.Target
	Credential ops.Credential
	// Open opens the sealed credential. It is called only after the host has
	// proved a pinned key, and not for a connection that is there already.
	Open func() (ops.Secret, error)
}

// HostKeyError is a host that could not prove a pinned key. Nothing was sent to
// it, and the credential was not opened.
type HostKeyError struct {
	Target  string
	Pinned  []string // fingerprints; empty if none is pinned
	Offered string   // fingerprint of what the host has; empty if it is not known
}

// Error implements error.
func (e *HostKeyError) Error() string { return e.public().Error() }

// Unwrap gives what a user may read.
func (e *HostKeyError) Unwrap() error { return e.public() }

func (e *HostKeyError) public() *ops.Error {
	offered := e.Offered
	if offered == "" {
		offered = "a key of another type"
	}
	if len(e.Pinned) == 0 {
		return ops.Errorf(ops.CodeForbidden, "no host key is pinned for %s (it offers %s); no login was tried", e.Target, offered)
	}
	return ops.Errorf(ops.CodeForbidden, "the host key of %s is not the pinned one: pinned %s, offered %s; no login was tried. Either the host was set up anew or somebody is in between: a person must look at it",
		e.Target, strings.Join(e.Pinned, " or "), offered)
}

// pins are the keys of a target's HostKey.
func pins(t ops.Target) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for line := range strings.Lines(t.HostKey) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || len(options) > 0 {
			return nil, ops.Errorf(ops.CodeInvalid, "the pinned host key of %s cannot be read", t.Name)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// algorithms are those that prove keys of the pinned types. An RSA key proves
// itself with SHA-2 only.
func algorithms(keys []ssh.PublicKey) []string {
	var all []string
	for _, k := range keys {
		names := []string{k.Type()}
		if k.Type() == ssh.KeyAlgoRSA {
			names = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, n := range names {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}

func fingerprints(keys []ssh.PublicKey) []string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = fingerprint(k)
	}
	return all
}

// Pinned gives the fingerprints of a target's pinned keys, with their types;
// none if they cannot be read.
func Pinned(t ops.Target) []string {
	keys, err := pins(t)
	if err != nil {
		return nil
	}
	return fingerprints(keys)
}

func fingerprint(k ssh.PublicKey) string { return k.Type() + " " + ssh.FingerprintSHA256(k) }

// dialer opens the network connection to a hop: directly or through the one before.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// loginTimeout bounds everything from the first packet to a login at one hop.
const loginTimeout = 20 * time.Second

// login connects to one hop, checks its key, and logs in. It gives the secrets
// that were opened for it.
func login(ctx context.Context, dial dialer, hop Hop) (*ssh.Client, []ops.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	keys, err := pins(hop.Target)
	if err != nil {
		return nil, nil, err
	}
	refused := &HostKeyError{Target: hop.Target.Name, Pinned: fingerprints(keys)}
	if len(keys) == 0 {
		refused.Offered = offered(ctx, dial, hop)
		return nil, nil, refused
	}
	var mismatch, unusable error
	var secrets []ops.Secret
	// The callbacks run in the order of the protocol: the host's key first, and
	// the login only if that gave no error.
	conf := &ssh.ClientConfig{
		User:              hop.Target.User,
		ClientVersion:     "SSH-2.0-Akmatori",
		HostKeyAlgorithms: algorithms(keys),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			for _, k := range keys {
				if bytes.Equal(k.Marshal(), key.Marshal()) {
					return nil
				}
			}
			refused.Offered = fingerprint(key)
			mismatch = refused
			return refused
		},
	}
	open := func() (ops.Secret, error) {
		secret, err := hop.Open()
		if err != nil {
			unusable = fmt.Errorf("open credential %s: %w", hop.Credential.Name, err)
		}
		return secret, err
	}
	switch hop.Credential.Kind {
	case "ssh_key":
		conf.Auth = []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			secret, err := open()
			if err != nil {
				return nil, err
			}
			signer, parts, err := parseKey(secret)
			secrets = append(secrets, parts...)
			if err != nil {
				unusable = ops.Errorf(ops.CodeInvalid, "credential %s is not a private key that can be used: %s", hop.Credential.Name, err)
				return nil, unusable
			}
			return []ssh.Signer{signer}, nil
		})}
	case "ssh_password":
		conf.Auth = []ssh.AuthMethod{ssh.PasswordCallback(func() (string, error) {
			secret, err := open()
			secrets = append(secrets, secret)
			return secret.Reveal(), err
		})}
	default:
		return nil, nil, ops.Errorf(ops.CodeInvalid, "credential %s is of kind %s, which is not for SSH", hop.Credential.Name, hop.Credential.Kind)
	}
	client, err := handshake(ctx, dial, hop.Target, conf)
	if err == nil {
		return client, secrets, nil
	}
	switch {
	case mismatch != nil:
		return nil, nil, mismatch
	case unusable != nil:
		return nil, nil, unusable
	case noCommonHostKey(err):
		// A host that has no key of a pinned type is another host, too.
		refused.Offered = offered(ctx, dial, hop)
		return nil, nil, refused
	}
	return nil, nil, explain(ctx, hop, err)
}

// handshake gives a client. ctx bounds it: there are no deadlines inside.
func handshake(ctx context.Context, dial dialer, t ops.Target, conf *ssh.ClientConfig) (*ssh.Client, error) {
	addr := net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, &unreachableError{err}
	}
	// Closing is the one thing that ends every step, also on a tunnelled
	// connection, which has no deadlines.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, addr, conf)
	if err == nil && !stop() {
		_ = c.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

func noCommonHostKey(err error) bool {
	e, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err)
	return ok && e.What == "host key"
}

// offered asks a host for its key, so that a person can compare. It ends before
// any login; what goes wrong leaves it empty.
func offered(ctx context.Context, dial dialer, hop Hop) (found string) {
	seen := errors.New("seen")
	_, _ = handshake(ctx, dial, hop.Target, &ssh.ClientConfig{
		User: "nobody", ClientVersion: "SSH-2.0-Akmatori",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			found = fingerprint(key)
			return seen
		},
	})
	return found
}

// explain says what a person can do about a failed login, without the words of
// the other side.
func explain(ctx context.Context, hop Hop, err error) error {
	t := hop.Target
	switch _, unreachable := errors.AsType[*unreachableError](err); {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s did not answer in time", t.Name), err)
	case unreachable:
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s cannot be reached at %s port %d", t.Name, t.Address, t.Port), err)
	case strings.Contains(err.Error(), "unable to authenticate"): // there is no type for it
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeForbidden, "%s refuses the login of %s with credential %s", t.Name, t.User, hop.Credential.Name), err)
	}
	return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "the SSH connection to %s failed before the login", t.Name), err)
}

// parseKey reads a private key: PEM, or JSON {"key": PEM, "passphrase": "…"}.
// It also gives what must not appear in any output. Its errors are safe to show.
func parseKey(secret ops.Secret) (ssh.Signer, []ops.Secret, error) {
	in := struct {
		Key        ops.Secret `json:"key"`
		Passphrase ops.Secret `json:"passphrase"`
	}{Key: secret}
	if strings.HasPrefix(strings.TrimSpace(secret.Reveal()), "{") {
		dec := json.NewDecoder(strings.NewReader(secret.Reveal()))
		dec.DisallowUnknownFields()
		in.Key = ops.Secret{}
		if err := dec.Decode(&in); err != nil {
			return nil, []ops.Secret{secret}, errors.New("its JSON is not {key, passphrase}")
		}
	}
	parts := []ops.Secret{in.Key, in.Passphrase}
	pem := []byte(in.Key.Reveal())
	if !in.Passphrase.Empty() {
		signer, err := ssh.ParsePrivateKeyWithPassphrase(pem, []byte(in.Passphrase.Reveal()))
		if err != nil {
			return nil, parts, errors.New("it does not open with its passphrase")
		}
		return signer, parts, nil
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if _, missing := errors.AsType[*ssh.PassphraseMissingError](err); missing {
		return nil, parts, errors.New("its passphrase is missing")
	}
	if err != nil {
		return nil, parts, errors.New("it is not a PEM of a known type")
	}
	return signer, parts, nil
}

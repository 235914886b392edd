package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// trust is what a host may prove itself with: a pinned key, or a certificate of
// a pinned authority.
type trust struct {
	keys, authorities []ssh.PublicKey
}

// pins reads a target's HostKey. A line is a public key or, with the marker of
// known_hosts(5), @cert-authority and the public key of an authority.
func pins(t ops.Target) (pinned trust, err error) {
	for line := range strings.Lines(t.HostKey) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text, authority := strings.CutPrefix(line, ops.CertAuthority+" ")
		key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(text))
		if err != nil || len(options) > 0 {
			return trust{}, ops.Errorf(ops.CodeInvalid, "the pinned host key of %s cannot be read", t.Name)
		}
		if authority {
			pinned.authorities = append(pinned.authorities, key)
		} else {
			pinned.keys = append(pinned.keys, key)
		}
	}
	return pinned, nil
}

// check says whether the key that a host has proved is one to trust. A
// certificate must be of a pinned authority, for hosts, valid now, and for the
// very address of the target; or else the key in it must be pinned, which is
// what the host has proved to have.
func (p trust) check(t ops.Target, offered ssh.PublicKey) bool {
	among := func(keys []ssh.PublicKey, one ssh.PublicKey) bool {
		return slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), one.Marshal()) })
	}
	certificate, ok := offered.(*ssh.Certificate)
	if !ok {
		return among(p.keys, offered)
	}
	if among(p.keys, certificate.Key) {
		return true
	}
	checker := ssh.CertChecker{IsHostAuthority: func(authority ssh.PublicKey, _ string) bool { return among(p.authorities, authority) }}
	addr := net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
	return checker.CheckHostKey(addr, &net.TCPAddr{}, offered) == nil
}

func (p trust) empty() bool { return len(p.keys)+len(p.authorities) == 0 }

func (p trust) fingerprints() []string {
	all := fingerprints(p.keys)
	for _, k := range p.authorities {
		all = append(all, "authority "+fingerprint(k))
	}
	return all
}

// certificates are the algorithms that prove host certificates. Those of RSA are
// with SHA-2 only.
var certificates = []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}

// algorithms are those that prove what is pinned: of the pinned keys, and of
// certificates first if an authority is pinned.
func (p trust) algorithms() []string {
	if len(p.authorities) == 0 {
		return algorithms(p.keys)
	}
	return append(slices.Clone(certificates), algorithms(p.keys)...)
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
	pinned, err := pins(t)
	if err != nil {
		return nil
	}
	return pinned.fingerprints()
}

// fingerprint is that of a key, or of the key in a certificate with who signed it.
func fingerprint(k ssh.PublicKey) string {
	if c, ok := k.(*ssh.Certificate); ok {
		return fmt.Sprintf("%s, certified by %s", fingerprint(c.Key), fingerprint(c.SignatureKey))
	}
	return k.Type() + " " + ssh.FingerprintSHA256(k)
}

// dialer opens the network connection to a hop: directly or through the one before.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// loginTimeout bounds everything from the first packet to a login at one hop.
const loginTimeout = 20 * time.Second

// login connects to one hop, checks its key, and logs in. It gives the secrets
// that were opened for it.
func login(ctx context.Context, dial dialer, hop Hop) (*ssh.Client, []ops.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	pinned, err := pins(hop.Target)
	if err != nil {
		return nil, nil, err
	}
	refused := &HostKeyError{Target: hop.Target.Name, Pinned: pinned.fingerprints()}
	if pinned.empty() {
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
		HostKeyAlgorithms: pinned.algorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if pinned.check(hop.Target, key) {
				return nil
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
			signer, parts, err := parseKey(secret, time.Now())
			secrets = append(secrets, parts...)
			if err != nil {
				unusable = ops.Errorf(ops.CodeInvalid, "credential %s is not a private key that can be used: %s", hop.Credential.Name, err)
				return nil, unusable
			}
			return []ssh.Signer{signer}, nil
		})}
	case "ssh_password":
		// It is opened once, for whichever way of asking the host has.
		password := sync.OnceValues(func() (string, error) {
			secret, err := open()
			secrets = append(secrets, secret)
			return secret.Reveal(), err
		})
		conf.Auth = []ssh.AuthMethod{ssh.PasswordCallback(password), ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
			switch {
			case len(questions) == 0: // a greeting, or the end
				return nil, nil
			case len(questions) > 1 || echos[0]:
				return nil, errors.New("the host asks for more than a password")
			}
			answer, err := password()
			return []string{answer}, err
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

// offered asks a host for its key, so that a person can compare. What goes
// wrong leaves it empty.
func offered(ctx context.Context, dial dialer, hop Hop) string {
	key, err := offer(ctx, dial, hop.Target, nil)
	if err != nil {
		return ""
	}
	return fingerprint(key)
}

// offer asks a host for the key that it has for one of these algorithms; none
// means all that the client knows. It ends before any login.
func offer(ctx context.Context, dial dialer, t ops.Target, algorithms []string) (found ssh.PublicKey, err error) {
	seen := errors.New("seen")
	_, err = handshake(ctx, dial, t, &ssh.ClientConfig{
		User: "nobody", ClientVersion: "SSH-2.0-Akmatori", HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			found = key
			return seen
		},
	})
	if found != nil {
		return found, nil
	}
	return nil, err
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

// parseKey reads a private key: PEM, or JSON {"key": PEM, "passphrase": "…",
// "certificate": "ssh-…-cert-v01@openssh.com AAAA…"}, the last two if there are
// any. A certificate must be one for this key, and valid now. It also gives what
// must not appear in any output. Its errors are safe to show.
//
// The bytes that are made of the secret here are wiped. The secret itself is a
// string, which Go does not let be wiped, and so are the parts that the signer
// of the SSH library keeps for as long as the connection may sign anew.
func parseKey(secret ops.Secret, now time.Time) (ssh.Signer, []ops.Secret, error) {
	in := struct {
		Key         ops.Secret `json:"key"`
		Passphrase  ops.Secret `json:"passphrase"`
		Certificate string     `json:"certificate"`
	}{Key: secret}
	if strings.HasPrefix(strings.TrimSpace(secret.Reveal()), "{") {
		raw := []byte(secret.Reveal())
		defer clear(raw)
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		in.Key = ops.Secret{}
		if err := dec.Decode(&in); err != nil {
			return nil, []ops.Secret{secret}, errors.New("its JSON is not {key, passphrase, certificate}")
		}
	}
	parts := []ops.Secret{in.Key, in.Passphrase}
	signer, err := openKey(in.Key, in.Passphrase)
	if err != nil || in.Certificate == "" {
		return signer, parts, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(in.Certificate))
	certificate, ok := public.(*ssh.Certificate)
	switch {
	case err != nil || !ok || certificate.CertType != ssh.UserCert:
		return nil, parts, errors.New("its certificate is not one of OpenSSH for users")
	case now.Unix() < int64(min(certificate.ValidAfter, math.MaxInt64)):
		return nil, parts, fmt.Errorf("its certificate is not valid before %s", time.Unix(int64(certificate.ValidAfter), 0).UTC().Format(time.RFC3339))
	case certificate.ValidBefore != ssh.CertTimeInfinity && uint64(now.Unix()) >= certificate.ValidBefore:
		return nil, parts, fmt.Errorf("its certificate has expired: it was valid until %s", time.Unix(int64(certificate.ValidBefore), 0).UTC().Format(time.RFC3339))
	}
	certified, err := ssh.NewCertSigner(certificate, signer)
	if err != nil {
		return nil, parts, errors.New("its certificate is for another key")
	}
	return certified, parts, nil
}

// openKey reads a private key with its passphrase, if it has one.
func openKey(key, passphrase ops.Secret) (ssh.Signer, error) {
	pem := []byte(key.Reveal())
	defer clear(pem)
	if !passphrase.Empty() {
		words := []byte(passphrase.Reveal())
		defer clear(words)
		signer, err := ssh.ParsePrivateKeyWithPassphrase(pem, words)
		if err != nil {
			return nil, errors.New("it does not open with its passphrase")
		}
		return signer, nil
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if _, missing := errors.AsType[*ssh.PassphraseMissingError](err); missing {
		return nil, errors.New("its passphrase is missing")
	}
	if err != nil {
		return nil, errors.New("it is not a PEM of a known type")
	}
	return signer, nil
}

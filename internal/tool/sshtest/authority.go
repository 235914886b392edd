package sshtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Authority signs keys of users and hosts.
type Authority struct {
	Public string // its line
	signer ssh.Signer
}

// NewAuthority makes one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	must(t, err)
	return &Authority{Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))), signer: signer}
}

// Sign gives a certificate for a public line: of a user or, with host, of a
// host, for these names and from a time to another.
func (a *Authority) Sign(t testing.TB, public string, host bool, from, to time.Time, names ...string) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	must(t, err)
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: "test", ValidPrincipals: names, ValidAfter: uint64(from.Unix()), ValidBefore: uint64(to.Unix())}
	if host {
		c.CertType = ssh.HostCert
	} else {
		c.Extensions = map[string]string{"permit-pty": ""}
	}
	must(t, c.SignCert(rand.Reader, a.signer))
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(c)))
}

// Certify gives the server a certificate for its host key and starts it again.
func (s *Server) Certify(a *Authority, from, to time.Time, names ...string) {
	s.t.Helper()
	path := filepath.Join(s.Dir, "host_key-cert.pub")
	must(s.t, os.WriteFile(path, []byte(a.Sign(s.t, s.HostKey, true, from, to, names...)+"\n"), 0o600))
	old, err := os.ReadFile(s.config)
	must(s.t, err)
	if line := "HostCertificate " + path; !strings.Contains(string(old), line) {
		must(s.t, os.WriteFile(s.config, []byte(string(old)+line+"\n"), 0o600))
	}
	s.Restart()
}

// TrustUsers lets in whoever has a certificate of the authority for the name of
// the current user, and starts the server again.
func (s *Server) TrustUsers(a *Authority) {
	s.t.Helper()
	path := filepath.Join(s.Dir, "user_ca.pub")
	must(s.t, os.WriteFile(path, []byte(a.Public+"\n"), 0o600))
	old, err := os.ReadFile(s.config)
	must(s.t, err)
	must(s.t, os.WriteFile(s.config, []byte(string(old)+"TrustedUserCAKeys "+path+"\n"), 0o600))
	s.Restart()
}

package keys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// The certificate authority of the credential proxy: its own two files, and the
// certificate again for the agent, which trusts it and nothing else.
const (
	authorityKeyFile  = "proxy/ca-key"
	authorityCertFile = "proxy/ca-certificate"
	authorityTrusted  = "agent/proxy-ca"
	// authorityLife is how long it is valid: that of a deployment.
	authorityLife = 20 * 365 * 24 * time.Hour
)

// authority is a key and its certificate, both as PEM.
type authority struct{ key, certificate ops.Secret }

// newAuthority makes one for this deployment alone. It signs certificates of
// servers and no further authority (RFC 5280, 4.2.1.9).
func newAuthority() (authority, error) {
	fail := func(err error) (authority, error) {
		return authority{}, fmt.Errorf("certificate authority of the proxy: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{"Akmatori"}, CommonName: "Akmatori credential proxy " + ops.NewID()[28:]},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(authorityLife), // clocks differ
		KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return fail(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fail(err)
	}
	text := func(kind string, der []byte) ops.Secret {
		return ops.NewSecret(strings.TrimSuffix(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})), "\n"))
	}
	return authority{text("PRIVATE KEY", private), text("CERTIFICATE", der)}, nil
}

// check says whether key and certificate belong together and are an authority's.
func (a authority) check() error {
	pair, err := tls.X509KeyPair([]byte(a.certificate.Reveal()), []byte(a.key.Reveal()))
	switch {
	case err != nil: // which tells no content
		return err
	case !pair.Leaf.IsCA || len(pair.Certificate) != 1:
		return errors.New("it is no certificate of an authority")
	}
	return nil
}

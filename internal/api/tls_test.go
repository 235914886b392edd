package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/seal"
)

// TestTLSAtThePublicListener: with a certificate the page, its links and its
// cookies are for https.
func TestTLSAtThePublicListener(t *testing.T) {
	t.Parallel()
	certFile, keyFile, roots := certificate(t)
	r := start(t, pgtest.New(t), func(c *Config) { c.TLSCertFile, c.TLSKeyFile = certFile, keyFile })
	require.True(t, strings.HasPrefix(r.PublicURL(), "https://127.0.0.1:"))
	require.Contains(t, r.log.String(), "setup link: "+r.PublicURL()+"/setup#token=")
	_, token, _ := strings.Cut(r.log.String(), "/setup#token=")
	token, _, _ = strings.Cut(token, `"`)

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	res, err := client.Post(r.PublicURL()+"/api/v1/auth/setup", "application/json",
		strings.NewReader(`{"token":"`+token+`","username":"ann","password":"`+password+`"}`))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, 2, res.ProtoMajor)
	require.NotEmpty(t, res.Header.Get("Strict-Transport-Security"))
	require.Len(t, res.Cookies(), 1)
	cookie := res.Cookies()[0]
	require.Equal(t, sessionCookie, cookie.Name)
	require.True(t, cookie.Secure)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.PublicURL()+"/api/v1/auth/session", http.NoBody)
	require.NoError(t, err)
	req.AddCookie(cookie)
	res, err = client.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)

	plain, err := http.Get(strings.Replace(r.PublicURL(), "https", "http", 1))
	require.NoError(t, err)
	require.NoError(t, plain.Body.Close())
	require.Equal(t, http.StatusBadRequest, plain.StatusCode)
}

// TestARotatedPublicKeyIsUsed: the api seals with what the files hold now.
func TestARotatedPublicKeyIsUsed(t *testing.T) {
	t.Parallel()
	_, tools, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	_, egress, err := seal.GenerateKey(ops.ZoneEgress)
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(k seal.PublicKey) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "k"), []byte(k.String()), 0o600))
	}
	write(tools)
	r := start(t, pgtest.New(t), func(c *Config) {
		c.ReadPublicKeys = func() (string, string, error) {
			data, err := os.ReadFile(filepath.Join(dir, "k"))
			return string(data), egress.String(), err
		}
	})
	_, rotated, err := seal.GenerateKey(ops.ZoneTools)
	require.NoError(t, err)
	write(rotated)
	in := &newCredential{}
	in.Body.Name, in.Body.Kind, in.Body.Targets, in.Body.Secret = "login", "ssh_password", []string{"a"}, ops.NewSecret("p")
	_, err = r.createCredential(t.Context(), caller{}, in)
	require.NoError(t, err)
	cred, err := r.db.CredentialByName(t.Context(), "login")
	require.NoError(t, err)
	require.Equal(t, rotated.ID(), seal.KeyID(cred.Sealed))

	require.NoError(t, os.Remove(filepath.Join(dir, "k")))
	in.Body.Name = "second"
	_, err = r.createCredential(t.Context(), caller{}, in)
	require.ErrorContains(t, err, "public keys", "without a key nothing is sealed")
}

// certificate makes one for loopback that is its own authority.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return certFile, keyFile, roots
}

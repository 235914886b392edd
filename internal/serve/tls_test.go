package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile, roots := writeCertificate(t, t.TempDir(), 1)
	l, err := Listen(t.Context(), "public", "127.0.0.1:0")
	require.NoError(t, err)
	url := "https://" + l.Addr().String()
	secured, err := TLS(l, certFile, keyFile, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- HTTP(ctx, secured, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(r.Proto))
		}), slog.New(slog.DiscardHandler))
	}()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	res, err := (&http.Client{Transport: transport}).Get(url)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0", res.Proto)
	require.NoError(t, res.Body.Close())
	_, err = tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	require.ErrorContains(t, err, "protocol version")
	transport.CloseIdleConnections()
	stop()
	require.NoError(t, <-ended)
}

func TestARenewedCertificateIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, _ := writeCertificate(t, dir, 1)
	var log bytes.Buffer
	c := &certificate{certFile: certFile, keyFile: keyFile, log: slog.New(slog.NewTextHandler(&log, nil))}
	require.NoError(t, c.load())
	serial := func() int64 {
		c.looked = time.Time{} // as if it were long ago
		return c.get().Leaf.SerialNumber.Int64()
	}
	require.Equal(t, int64(1), serial())
	require.Empty(t, log.String(), "files that did not change are not read")

	require.NoError(t, os.WriteFile(certFile, []byte("half a certi"), 0o600))
	require.Equal(t, int64(1), serial())
	require.Contains(t, log.String(), "the old one stays")
	require.NoError(t, os.Remove(certFile))
	require.Equal(t, int64(1), serial())

	writeCertificate(t, dir, 2)
	require.Equal(t, int64(2), serial())
	writeCertificate(t, dir, 3)
	c.looked = time.Now()
	require.Equal(t, int64(2), c.get().Leaf.SerialNumber.Int64(), "not at every handshake")
}

func TestTLSRefuses(t *testing.T) {
	t.Parallel()
	certFile, keyFile, _ := writeCertificate(t, t.TempDir(), 1)
	_, otherKey, _ := writeCertificate(t, t.TempDir(), 2)
	openCert, openKey, _ := writeCertificate(t, t.TempDir(), 3)
	require.NoError(t, os.Chmod(openKey, 0o644))
	for name, tt := range map[string]struct{ cert, key, want string }{
		"no key":                  {certFile, "", "needed both, or none"},
		"no certificate":          {"", keyFile, "needed both, or none"},
		"a missing file":          {certFile, keyFile + ".old", "no such file"},
		"the key of another":      {certFile, otherKey, "private key does not match public key"},
		"swapped":                 {keyFile, certFile, "TLS: "},
		"a key for all to read":   {openCert, openKey, "mode 0644, so everybody can get at the key"},
		"a certificate as folder": {filepath.Dir(certFile), keyFile, "TLS: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := Listen(t.Context(), "public", "127.0.0.1:0")
			require.NoError(t, err)
			_, err = TLS(l, tt.cert, tt.key, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, tt.want)
			_, err = l.Accept()
			require.Error(t, err, "the listener is closed")
		})
	}
}

// writeCertificate makes a certificate for loopback that is its own authority.
func writeCertificate(t *testing.T, dir string, serial int64) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(path, kind string, der []byte) {
		next := path + ".next"
		require.NoError(t, os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		require.NoError(t, os.Rename(next, path))
	}
	write(certFile, "CERTIFICATE", der)
	write(keyFile, "PRIVATE KEY", keyDER)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return certFile, keyFile, roots
}

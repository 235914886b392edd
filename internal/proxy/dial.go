package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"

	"github.com/akmatori/akmatori/internal/reach"
)

// newTransport makes a pool of connections to upstreams whose addresses are
// judged ([reach.Dialer]). It follows nothing, unpacks nothing and reads no
// proxy from the environment.
func newTransport(d *reach.Dialer, roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            d.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64, // the default of 2 would open one connection after the other
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  10 * time.Minute, // of a model that thinks before it streams
		MaxResponseHeaderBytes: 64 << 10,
	}
}

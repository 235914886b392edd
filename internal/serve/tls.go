package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// certificateEvery is how often a handshake looks whether the files have changed.
const certificateEvery = 10 * time.Second

// TLS makes l speak TLS with the certificate (chain) and key of two PEM files.
// When the files change, new connections get the new certificate; while what is
// in them cannot be used, they get the old one and it is logged. If TLS fails, l
// is closed.
func TLS(l net.Listener, certFile, keyFile string, log *slog.Logger) (net.Listener, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), l.Close())
	}
	c.looked = time.Now()
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
	}), nil
}

// certificate is the newest one that could be used.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	looked time.Time
	stamp  stamp
	pair   *tls.Certificate
}

// stamp tells one content of the two files from the next: renewals replace
// files, and an editor at least touches them.
type stamp [2]struct {
	changed time.Time
	size    int64
}

func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certificateEvery {
		return c.pair
	}
	c.looked = time.Now()
	if now, err := c.look(); err == nil && now == c.stamp {
		return c.pair
	}
	if err := c.load(); err != nil {
		c.log.Error("the new certificate cannot be used: the old one stays", "err", err)
	} else {
		c.log.Info("the certificate was read again", "file", c.certFile)
	}
	return c.pair
}

// load reads the files. What has failed is tried again at the next look.
func (c *certificate) load() error {
	if c.certFile == "" || c.keyFile == "" {
		return errors.New("the certificate and its key are needed both, or none")
	}
	now, err := c.look()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s with %s: %w", c.certFile, c.keyFile, err)
	}
	if pair.Leaf != nil && time.Now().After(pair.Leaf.NotAfter) {
		c.log.Warn("the certificate has expired", "file", c.certFile, "at", pair.Leaf.NotAfter)
	}
	c.pair, c.stamp = &pair, now
	return nil
}

func (c *certificate) look() (s stamp, err error) {
	for i, path := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrPermission) {
			return s, fmt.Errorf("%w: this process has UID %d, which must be able to read it", err, os.Getuid())
		}
		if err != nil {
			return s, err
		}
		if mode := info.Mode().Perm(); path == c.keyFile && mode&0o007 != 0 {
			return s, fmt.Errorf("%s has mode %04o, so everybody can get at the key: chmod 0400", path, mode)
		}
		s[i].changed, s[i].size = info.ModTime(), info.Size()
	}
	return s, nil
}

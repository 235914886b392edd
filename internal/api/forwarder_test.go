package api

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// forwarder stands between an api and its database and can be cut.
type forwarder struct {
	t       testing.TB
	network string
	target  string
	addr    string

	frozen sync.RWMutex // locked: nothing goes through, and nobody is told

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]bool
	ended sync.WaitGroup
}

// forward gives a forwarder and the connection string through it.
func forward(t testing.TB, database ops.Secret) (*forwarder, ops.Secret) {
	t.Helper()
	conf, err := pgx.ParseConfig(database.Reveal())
	require.NoError(t, err)
	f := &forwarder{t: t, conns: map[net.Conn]bool{}, addr: "127.0.0.1:0"}
	f.network, f.target = pgNetwork(conf)
	f.mend()
	u := url.URL{Scheme: "postgres", Host: f.addr, Path: "/" + conf.Database, User: url.UserPassword(conf.User, conf.Password), RawQuery: "sslmode=disable"}
	t.Cleanup(func() { f.cut(); f.ended.Wait() })
	return f, ops.NewSecret(u.String())
}

func (f *forwarder) mend() {
	l, err := net.Listen("tcp", f.addr)
	require.NoError(f.t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.l, f.addr = l, l.Addr().String()
	f.ended.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(f.network, f.target)
			if err != nil {
				_ = in.Close()
				continue
			}
			f.mu.Lock()
			f.conns[in], f.conns[out] = true, true
			f.mu.Unlock()
			f.ended.Go(func() { _, _ = io.Copy(gate{in, &f.frozen}, out); _ = in.Close() })
			f.ended.Go(func() { _, _ = io.Copy(gate{out, &f.frozen}, in); _ = out.Close() })
		}
	})
}

type gate struct {
	net.Conn
	frozen *sync.RWMutex
}

// Write implements [io.Writer].
func (g gate) Write(b []byte) (int, error) {
	g.frozen.RLock()
	defer g.frozen.RUnlock()
	return g.Conn.Write(b)
}

// ReadFrom keeps io.Copy from going around Write.
func (g gate) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{g}, r)
}

func (f *forwarder) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.l.Close()
	for c := range f.conns {
		_ = c.Close()
	}
	clear(f.conns)
}

func pgNetwork(conf *pgx.ConnConfig) (network, address string) {
	if len(conf.Host) > 0 && conf.Host[0] == '/' {
		return "unix", conf.Host + "/.s.PGSQL." + itoa(conf.Port)
	}
	return "tcp", net.JoinHostPort(conf.Host, itoa(conf.Port))
}

package pgserver_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgserver"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestDataAndPortOutliveTheServer(t *testing.T) {
	t.Parallel()
	conf := pgserver.Config{Dir: openDir(t), Database: "demo"}

	first := start(t, conf)
	query(t, first.URL(), "CREATE TABLE kept AS SELECT 42 AS n")
	query(t, first.URL(), "CREATE ROLE reader LOGIN PASSWORD 'sesame'; GRANT SELECT ON kept TO reader")
	require.NoError(t, first.Stop())
	require.NoError(t, first.Stop(), "twice is once")

	second := start(t, conf)
	require.Equal(t, first.URL().Reveal(), second.URL().Reveal())
	require.Equal(t, "42", query(t, second.URLFor("reader", ops.NewSecret("sesame"), "demo"), "SELECT n::text FROM kept"))
}

func TestOnlyThePasswordOpens(t *testing.T) {
	t.Parallel()
	s := start(t, pgserver.Config{Dir: openDir(t)})
	_, err := pgx.Connect(t.Context(), s.URLFor(pgserver.Superuser, ops.NewSecret("guess"), "postgres").Reveal())
	require.ErrorContains(t, err, "28P01")
	require.Equal(t, "scram-sha-256", query(t, s.URL(), "SELECT auth_method FROM pg_hba_file_rules"))
	require.Equal(t, "127.0.0.1", query(t, s.URL(), "SHOW listen_addresses"))
	require.Empty(t, query(t, s.URL(), "SHOW unix_socket_directories"))
}

func TestOneProcessAFolder(t *testing.T) {
	t.Parallel()
	conf := pgserver.Config{Dir: openDir(t)}
	start(t, conf)
	_, err := pgserver.Start(t.Context(), conf)
	require.ErrorIs(t, err, pgserver.ErrInUse)
}

func TestATakenPortIsGivenUpUnlessAskedFor(t *testing.T) {
	t.Parallel()
	conf := pgserver.Config{Dir: openDir(t)}
	first := start(t, conf)
	before, err := url.Parse(first.URL().Reveal())
	require.NoError(t, err)
	require.NoError(t, first.Stop())

	l, err := net.Listen("tcp", before.Host)
	require.NoError(t, err)
	defer func() { _ = l.Close() }()

	conf.Port, err = strconv.Atoi(before.Port())
	require.NoError(t, err)
	_, err = pgserver.Start(t.Context(), conf)
	require.ErrorIs(t, err, syscall.EADDRINUSE)

	conf.Port = 0
	require.NotEqual(t, first.URL().Reveal(), start(t, conf).URL().Reveal())
}

func TestAStalePidFileDoesNotMatter(t *testing.T) {
	t.Parallel()
	conf := pgserver.Config{Dir: openDir(t)}
	first := start(t, conf)
	query(t, first.URL(), "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, syscall.Kill(first.Pid(), syscall.SIGKILL))
	<-first.Done()
	require.NoError(t, first.Stop(), "of a dead server")
	pidFile := filepath.Join(conf.Dir, "cluster", "data", "postmaster.pid")
	require.FileExists(t, pidFile)

	// The pid is somebody else's now.
	text, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "\n")
	require.NoError(t, os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600))

	second := start(t, conf)
	require.Equal(t, "1", query(t, second.URL(), "SELECT n::text FROM kept"))
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	_, err := pgserver.Start(t.Context(), pgserver.Config{Dir: openDir(t), Database: `x"; DROP`})
	require.ErrorContains(t, err, "no name for a database")

	_, err = pgserver.Start(t.Context(), pgserver.Config{Dir: openDir(t), BinDir: "/nowhere"})
	require.ErrorContains(t, err, "/nowhere")

	old := openDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(old, "cluster", "data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(old, "cluster", "data", "PG_VERSION"), []byte("9\n"), 0o644))
	chown(t, filepath.Join(old, "cluster", "data"))
	_, err = pgserver.Start(t.Context(), pgserver.Config{Dir: old})
	require.ErrorContains(t, err, "the data was made by 9")
}

func TestRootInAClosedFolder(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root starts a server as somebody else")
	}
	closed := t.TempDir() // its parent is 0700
	require.NoError(t, os.Chmod(closed, 0o700))
	conf := pgserver.Config{Dir: filepath.Join(closed, "data")}
	first := start(t, conf)
	home, err := filepath.EvalSymlinks(filepath.Join(conf.Dir, "cluster"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	require.True(t, strings.HasPrefix(home, pgserver.Elsewhere+"/"), home)
	query(t, first.URL(), "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, first.Stop())
	require.Equal(t, "1", query(t, start(t, conf).URL(), "SELECT n::text FROM kept"))
}

// A server must not outlive a process that is killed, and if it does (the
// option is off), the next Start takes the folder back.
func TestParentIsKilled(t *testing.T) {
	t.Parallel()
	for _, die := range []bool{true, false} {
		t.Run("DieWithParent="+strconv.FormatBool(die), func(t *testing.T) {
			t.Parallel()
			conf := pgserver.Config{Dir: openDir(t), DieWithParent: die}
			parent := exec.Command(os.Args[0], "-test.run=^TestHelperThatIsKilled$")
			parent.Env = append(os.Environ(), "PGSERVER_HELPER_DIR="+conf.Dir, "PGSERVER_HELPER_DIE="+strconv.FormatBool(die))
			var out bytes.Buffer
			parent.Stdout, parent.Stderr = &out, &out
			require.NoError(t, parent.Start())
			pidFile := filepath.Join(conf.Dir, "helper.pid")
			require.Eventually(t, func() bool { return exists(pidFile) }, 30*time.Second, 20*time.Millisecond, "the helper says: %s", &out)
			require.NoError(t, parent.Process.Kill())
			require.Error(t, parent.Wait())

			text, err := os.ReadFile(pidFile)
			require.NoError(t, err)
			pid, err := strconv.Atoi(string(text))
			require.NoError(t, err)
			if die {
				require.Eventually(t, func() bool { return !exists("/proc/"+strconv.Itoa(pid)) || zombie(pid) }, 10*time.Second, 10*time.Millisecond)
			}
			s := start(t, conf)
			require.NotEqual(t, pid, s.Pid())
			require.Equal(t, "1", query(t, s.URL(), "SELECT n::text FROM kept"))
		})
	}
}

// TestHelperThatIsKilled is the process that the test above kills.
func TestHelperThatIsKilled(t *testing.T) {
	dir := os.Getenv("PGSERVER_HELPER_DIR")
	if dir == "" {
		return
	}
	s, err := pgserver.Start(t.Context(), pgserver.Config{Dir: dir, DieWithParent: os.Getenv("PGSERVER_HELPER_DIE") == "true"})
	require.NoError(t, err)
	query(t, s.URL(), "CREATE TABLE kept AS SELECT 1 AS n")
	next := filepath.Join(dir, "helper.new")
	require.NoError(t, os.WriteFile(next, []byte(strconv.Itoa(s.Pid())), 0o600))
	require.NoError(t, os.Rename(next, filepath.Join(dir, "helper.pid")))
	select {}
}

func start(t *testing.T, conf pgserver.Config) *pgserver.Server {
	t.Helper()
	if len(pgserver.Find("")) == 0 && conf.BinDir == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs PostgreSQL's server programs")
		}
		t.Skip("no PostgreSQL on this machine")
	}
	conf.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := pgserver.Start(t.Context(), conf)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

func query(t *testing.T, url ops.Secret, sql string) string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, url.Reveal())
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	require.NoError(t, err)
	if last := results[len(results)-1]; len(last.Rows) > 0 {
		return string(last.Rows[0][0])
	}
	return ""
}

// openDir is a temporary folder that other users can walk to, which t.TempDir
// is not.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgserver-test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// chown gives a folder to the user that root's servers run as.
func chown(t *testing.T, path string) {
	t.Helper()
	if os.Getuid() == 0 {
		require.NoError(t, exec.Command("sh", "-c", `chown -R "$(id -un postgres 2>/dev/null || echo nobody)" "$1"`, "sh", path).Run())
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// zombie says whether a process has ended and nobody has asked how.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

//go:build compose

package compose_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// victims are the services that may go away during a run.
var victims = []string{"akmatori-api", "mcp-gateway", "credential-proxy", "akmatori-agent", "postgres"}

// testRestarted restarts each of them while an investigation runs.
func testRestarted(t *testing.T, d *deployment) {
	for _, victim := range victims {
		began := time.Now()
		title := d.alert()
		d.running(title)
		d.up("restart", victim)
		d.concluded(title)
		d.healthy()
		t.Logf("%s restarted: concluded and healthy after %s", victim, time.Since(began).Round(time.Second))
	}
}

// testKilled kills one at a random moment, ten times, each of them twice in a
// random order. It is the process that is killed, as by a lack of memory: the engine starts it again.
func testKilled(t *testing.T, d *deployment) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var titles []string
	for round, n := range append(random.Perm(len(victims)), random.Perm(len(victims))...) {
		victim := victims[n]
		pause := time.Duration(random.IntN(4000)) * time.Millisecond
		title := d.alert()
		<-time.After(pause) // the moment is the point, and there is nothing to wait for
		before := d.containers(false)[victim]
		require.NoError(t, unix.Kill(before.State.Pid, unix.SIGKILL))
		began := time.Now()
		require.Eventually(t, func() bool {
			after, ok := d.containers(false)[victim]
			return ok && after.State.Pid != 0 && after.State.Pid != before.State.Pid
		}, time.Minute, 100*time.Millisecond, "%s does not come back", victim)
		d.concluded(title)
		d.healthy()
		t.Logf("round %d: %s killed after %s: concluded and healthy %s later", round+1, victim, pause, time.Since(began).Round(time.Second))
		titles = append(titles, title)
	}
	for _, title := range titles {
		d.concluded(title) // still one, and no second investigation
	}
}

// testDownAndUp takes all containers away and brings them back: the data stays.
func testDownAndUp(t *testing.T, d *deployment) {
	before := d.incidents()
	require.NotEmpty(t, before)
	keys := d.secrets()
	d.up("--profile", "demo", "down")
	d.up("up", "-d", "--no-build")
	d.up("--profile", "demo", "up", "-d", "--no-build", "demo-world")
	d.healthy()
	require.Equal(t, before, d.incidents())
	require.Equal(t, keys, d.secrets())
	title := d.alert()
	d.concluded(title)
}

// testInitAgain: init changes nothing. A set of secrets of the first release gets
// what this one adds, and keeps what it has.
func testInitAgain(t *testing.T, d *deployment) {
	keys := d.secrets()
	d.up("run", "--rm", "init")
	require.Equal(t, keys, d.secrets())

	added := []string{d.file("secrets-migrate", "set"), d.file("secrets-agent", "proxy-ca"), d.file("secrets-proxy", "ca-key"), d.file("secrets-proxy", "ca-certificate"),
		d.file("secrets-api", "audit-key"), d.file("secrets-api", "audit-public-keys"), d.file("secrets-gateway", "audit-key"), d.file("secrets-proxy", "audit-key")}
	for _, f := range added {
		require.NoError(t, os.Remove(f))
	}
	older := d.secrets()
	d.up("up", "-d", "--no-build")
	d.healthy()
	for _, f := range added {
		require.FileExists(t, f)
	}
	require.Subset(t, d.secrets(), older)
	require.Len(t, d.secrets(), len(keys))
}

// testSelfCheck: a worker that somebody has put on one more network refuses to
// run, and says why.
func testSelfCheck(t *testing.T, d *deployment) {
	agent := d.containers(false)["akmatori-agent"].ID
	says := func(words string) {
		t.Helper()
		require.Eventually(t, func() bool {
			out, err := d.try("sh", "-c", "docker logs "+agent+" 2>&1")
			return err == nil && strings.Contains(out, words)
		}, time.Minute, 200*time.Millisecond, "the worker does not say that %s", words)
	}
	says("this worker is isolated")
	d.run("docker", "network", "connect", project+"_api-internal", agent)
	d.run("docker", "restart", agent)
	says("this worker is not isolated and does not run: it reaches postgres:5432, which it must not")
	d.run("docker", "stop", agent) // not between two of its starts
	d.run("docker", "network", "disconnect", project+"_api-internal", agent)
	d.run("docker", "start", agent)
	d.healthy()
}

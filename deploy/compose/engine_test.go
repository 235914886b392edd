//go:build compose

package compose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Addresses of the link between the machine of the test and what is outside.
const (
	hostAddress     = "198.51.100.1"
	outsideAddress  = "198.51.100.2"
	outsideAddress6 = "2001:db8:51::2"
	canaryPort      = 7007
	// A model on a private network: the proxy dials no address for documentation.
	modelAddress = "10.77.0.2"
	modelPort    = 7008
	outsideName  = "outside.example"
)

// engine is a Docker engine of this test alone, in a network namespace of its
// own: that is "the host", with its own bridges and firewall, so nothing of the
// machine around it is touched. A second namespace, one cable away, is all that
// is outside.
type engine struct {
	t       *testing.T
	dir     string
	netns   string // file of the host's namespace
	outside string // file of the outside's
	env     []string
	compose []string // program and arguments before the command
	failed  error    // of the last program that should not have failed
}

// room is the disk space that base images, the engine's copies of them and what is
// built take, in bytes, with some to spare.
const room = 5 << 30

// start makes the namespaces and starts the engine. Everything ends with t.
func start(t *testing.T) *engine {
	require.Zero(t, os.Getuid(), "a Docker engine needs root")
	dir, err := os.MkdirTemp("", "akc")
	require.NoError(t, err)
	e := &engine{t: t, dir: dir}
	t.Cleanup(func() {
		_ = os.RemoveAll(dir)
		if e.failed != nil { // once more, below all logs
			t.Logf("what failed: %v", e.failed)
		}
	})
	var disk unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &disk))
	require.GreaterOrEqual(t, disk.Bavail*uint64(disk.Bsize), uint64(room), "bytes free on the disk of %s", dir)
	name := filepath.Base(dir)
	for i, ns := range []string{name + "h", name + "o"} {
		e.run("ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", ns).Run() })
		e.run("ip", "-n", ns, "link", "set", "lo", "up")
		*[]*string{&e.netns, &e.outside}[i] = "/run/netns/" + ns
	}
	e.run("ip", "-n", name+"h", "link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", name+"o")
	for _, l := range [][4]string{{name + "h", "out0", hostAddress, "2001:db8:51::1"}, {name + "o", "in0", outsideAddress, outsideAddress6}} {
		e.run("ip", "-n", l[0], "address", "add", l[2]+"/24", "dev", l[1])
		e.run("ip", "-n", l[0], "address", "add", l[3]+"/64", "dev", l[1], "nodad")
		e.run("ip", "-n", l[0], "link", "set", l[1], "up")
	}
	e.run("ip", "-n", name+"o", "address", "add", modelAddress+"/32", "dev", "in0")
	// As on a real host: a default route, and a name server of the provider.
	e.run("ip", "-n", name+"h", "route", "add", "default", "via", outsideAddress)
	e.run("ip", "-n", name+"h", "-6", "route", "add", "default", "via", outsideAddress6)
	e.canaries()
	e.daemon()
	return e
}

func (e *engine) daemon() {
	t := e.t
	log, err := os.Create(filepath.Join(e.dir, "dockerd.log"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = log.Close() })
	socket := "unix://" + e.dir + "/docker.sock"
	cmd := exec.Command("nsenter", "--net="+e.netns, "dockerd", "--data-root", e.dir+"/data", "--exec-root", e.dir+"/exec",
		"--pidfile", e.dir+"/pid", "-H", socket, "--dns", outsideAddress)
	cmd.Stdout, cmd.Stderr = log, log
	// A test that is killed, or out of time, cleans up nothing: then the kernel tells
	// the engine to stop, which stops what it runs.
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGTERM}
	started, gone := make(chan error), make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // it is this thread's death that counts
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	require.NoError(t, <-started)
	e.env = append(os.Environ(), "DOCKER_HOST="+socket, "COMPOSE_PROJECT_NAME="+project, "AKMATORI_VERSION="+release)
	t.Cleanup(func() {
		if t.Failed() { // what it says of its end is of no interest
			data, _ := os.ReadFile(log.Name())
			t.Logf("dockerd: %s", tail(string(data), 4000))
		}
		_ = cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-gone:
		case <-time.After(60 * time.Second):
			_ = cmd.Process.Kill()
			<-gone
		}
	})
	require.Eventually(t, func() bool {
		c := exec.Command("docker", "info")
		c.Env = e.env
		return c.Run() == nil
	}, 60*time.Second, 200*time.Millisecond, "the engine does not start")
	e.compose = []string{"docker-compose"}
	if c := exec.Command("docker", "compose", "version"); c.Run() == nil {
		e.compose = []string{"docker", "compose"}
	}
	e.compose = append(e.compose, "-f", "../../docker-compose.yml")
}

// run runs a program and gives its standard output; a failure ends the test.
func (e *engine) run(program string, args ...string) string {
	e.t.Helper()
	out, err := e.try(program, args...)
	if err != nil {
		e.failed = err
	}
	require.NoError(e.t, err, "%s %s", program, strings.Join(args, " "))
	return out
}

// try is run, with the last words of its standard error in the error.
func (e *engine) try(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, e.env
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s%s", err, tail(out.String(), 3000), tail(errs.String(), 3000))
	}
	return out.String(), nil
}

// up runs docker compose.
func (e *engine) up(args ...string) string {
	e.t.Helper()
	return e.run(e.compose[0], append(e.compose[1:len(e.compose):len(e.compose)], args...)...)
}

// build imports the base images and builds those of the product, with the
// Dockerfiles and the compose file as they are.
func (e *engine) build() {
	began := time.Now()
	changes := map[string][]string{
		"go":       {"ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOPROXY=off GOTOOLCHAIN=local"},
		"postgres": {`ENTRYPOINT ["docker-entrypoint.sh"]`, "VOLUME /var/lib/postgresql/data"},
	}
	variables := map[string]string{"debian": "AGENT_BASE_IMAGE", "go": "GO_IMAGE", "node": "NODE_IMAGE", "postgres": "POSTGRES_IMAGE"}
	lines := e.run("../images/bases.sh", "../../.cache/images")
	e.t.Logf("base images are made after %s", time.Since(began).Round(time.Second))
	for line := range strings.Lines(lines) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		args := []string{"import"}
		for _, c := range changes[name] {
			args = append(args, "--change", c)
		}
		image := "akmatori-base/" + name + ":test"
		e.run("docker", append(args, file, image)...)
		require.NotEmpty(e.t, variables[name], "what is %s for?", name)
		e.env = append(e.env, variables[name]+"="+image)
	}
	e.t.Logf("base images are imported after %s", time.Since(began).Round(time.Second))
	stages := map[string]bool{}
	for _, f := range []string{"../../Dockerfile.api", "../../Dockerfile.mcp", "../../Dockerfile.agent", "Dockerfile.demo"} {
		text, err := os.ReadFile(f)
		require.NoError(e.t, err)
		_, stage, _ := strings.Cut(string(text), "# All programs.")
		stage, _, _ = strings.Cut(stage, "\n\n")
		stages[stage] = true
	}
	require.Len(e.t, stages, 1, "the stage that builds all programs differs between the Dockerfiles: an engine would build it more than once")
	e.up("--profile", "demo", "build")
	e.t.Logf("images are built after %s", time.Since(began).Round(time.Second))
}

// container is what docker inspect says of one.
type container struct {
	ID, Name string
	Image    string
	State    struct {
		Pid      int
		Status   string
		Health   struct{ Status string }
		ExitCode int
	}
	RestartCount int
	Config       struct {
		User        string
		Env         []string
		Labels      map[string]string
		Healthcheck struct{ Test []string }
	}
	HostConfig struct {
		ReadonlyRootfs bool
		Privileged     bool
		CapDrop        []string
		CapAdd         []string
		SecurityOpt    []string
		Memory         int64
		PidsLimit      int64
		LogConfig      struct{ Config map[string]string }
		RestartPolicy  struct{ Name string }
	}
	Mounts []struct {
		Type, Name, Source, Destination string
		RW                              bool
	}
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

func (c container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// containers gives those of the project by service, the running ones or all.
func (e *engine) containers(all bool) map[string]container {
	e.t.Helper()
	args := []string{"ps", "-q", "--filter", "label=com.docker.compose.project=" + project}
	if all {
		args = append(args, "-a")
	}
	ids := strings.Fields(e.run("docker", args...))
	require.NotEmpty(e.t, ids)
	var list []container
	require.NoError(e.t, json.Unmarshal([]byte(e.run("docker", append([]string{"inspect"}, ids...)...)), &list))
	out := map[string]container{}
	for _, c := range list {
		out[c.service()] = c
	}
	return out
}

// in runs f in a network namespace: sockets that f makes stay there.
func in[T any](netns string, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var r result
		defer func() { done <- r }()
		fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			r.err = err
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if r.err = unix.Setns(fd, unix.CLONE_NEWNET); r.err == nil {
			r.v, r.err = f()
		}
	}()
	r := <-done
	return r.v, r.err
}

// canaries are listeners on all addresses of the host and of the outside, which
// also has a name server.
func (e *engine) canaries() {
	for _, ns := range []string{e.netns, e.outside} {
		l, err := in(ns, func() (net.Listener, error) { return net.Listen("tcp", fmt.Sprintf(":%d", canaryPort)) })
		require.NoError(e.t, err)
		e.t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_ = conn.Close()
			}
		}()
		e.datagrams(ns, canaryPort, func(in []byte) []byte { return in })
	}
	e.datagrams(e.outside, 53, answerName)
}

func (e *engine) datagrams(ns string, port int, answer func([]byte) []byte) {
	conn, err := in(ns, func() (net.PacketConn, error) { return net.ListenPacket("udp", fmt.Sprintf(":%d", port)) })
	require.NoError(e.t, err)
	e.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if out := answer(buf[:n]); out != nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
}

// answerName answers a question for the IPv4 address of outsideName; there is no
// other name.
func answerName(q []byte) []byte {
	if len(q) < 17 {
		return nil
	}
	end := bytes.IndexByte(q[12:], 0)
	if end < 0 || len(q) < 12+end+5 {
		return nil
	}
	question := q[12 : 12+end+5]
	answers, code := byte(0), byte(0x80)
	var record []byte
	switch label, domain, _ := strings.Cut(outsideName, "."); {
	case !bytes.EqualFold(question[:end], []byte(string(rune(len(label)))+label+string(rune(len(domain)))+domain)):
		code = 0x83 // no such name
	case bytes.Equal(question[end+1:], []byte{0, 1, 0, 1}):
		answers = 1
		record = append([]byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4}, net.ParseIP(outsideAddress).To4()...)
	}
	out := append([]byte{q[0], q[1], 0x81, code, 0, 1, 0, answers, 0, 0, 0, 0}, question...)
	return append(out, record...)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

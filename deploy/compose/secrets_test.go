//go:build compose

package compose_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// users is who each service is, and what it may write and where it mounts what.
// Everything else in its container is read-only to it.
var users = map[string]struct {
	user     string
	writable []string // but /dev/shm and /dev/mqueue, which an engine makes
	mounts   []string // "volume at path", with " rw" if it may be written
}{
	"akmatori-agent":   {"1001:1001", []string{"/tmp", "/work"}, []string{"secrets-agent at /run/akmatori"}},
	"akmatori-api":     {"1000:1000", []string{"/var/lib/akmatori"}, []string{"secrets-api at /run/akmatori", "audit-api at /var/lib/akmatori rw"}},
	"mcp-gateway":      {"1002:1002", []string{"/var/lib/akmatori"}, []string{"secrets-gateway at /run/akmatori", "audit-gateway at /var/lib/akmatori rw"}},
	"credential-proxy": {"1003:1003", []string{"/var/lib/akmatori"}, []string{"secrets-proxy at /run/akmatori", "audit-proxy at /var/lib/akmatori rw"}},
	"postgres": {"70:70", []string{"/tmp", "/run/postgresql", "/var/lib/postgresql/data"},
		[]string{"postgres at /var/lib/postgresql/data rw", "secrets-postgres at /run/akmatori"}},
	"demo-world": {"1000:1000", []string{"/demo"}, []string{"demo at /demo rw"}},
}

// testHardened reads what the engine was told, and what the kernel made of it.
func testHardened(t *testing.T, d *deployment) {
	for s, c := range d.containers(true) {
		h := c.HostConfig
		require.False(t, h.Privileged, s)
		require.True(t, h.ReadonlyRootfs, "%s: read-only root", s)
		require.Equal(t, []string{"ALL"}, h.CapDrop, s)
		require.Contains(t, h.SecurityOpt, "no-new-privileges:true", s)
		require.Positive(t, h.Memory, "%s: memory limit", s)
		require.Positive(t, h.PidsLimit, "%s: limit on processes", s)
		if s == "akmatori-agent" { // of whose shell a run may have 256
			require.GreaterOrEqual(t, h.PidsLimit, int64(512), s)
		}
		require.NotEmpty(t, h.LogConfig.Config["max-size"], "%s: log rotation", s)
		for _, m := range c.Mounts {
			require.Equal(t, "volume", m.Type, "%s mounts %s", s, m.Source)
		}
		if !slices.Contains(services, s) {
			require.Contains(t, []string{"init", "migrate", "demo"}, s, "a service without a row")
			continue
		}
		want := users[s]
		require.Empty(t, h.CapAdd, s)
		require.Equal(t, want.user, c.Config.User, s)
		require.Equal(t, "unless-stopped", h.RestartPolicy.Name, s)
		require.NotEmpty(t, c.Config.Healthcheck.Test, s)
		var mounts []string
		for _, m := range c.Mounts {
			line := strings.TrimPrefix(m.Name, project+"_") + " at " + m.Destination
			if m.RW {
				line += " rw"
			}
			mounts = append(mounts, line)
		}
		require.ElementsMatch(t, want.mounts, mounts, "mounts of %s", s)
		p := d.ask(c, question{}).Process
		require.Equal(t, "0000000000000000", p["CapEff"], s)
		require.Equal(t, "0000000000000000", p["CapBnd"], s)
		require.Equal(t, "1", p["NoNewPrivs"], s)
		require.Equal(t, "2", p["Seccomp"], s)
		uid, _, _ := strings.Cut(want.user, ":")
		require.Equal(t, []string{uid, uid, uid, uid}, strings.Fields(p["Uid"]), s)
	}
}

// secret is one of the deployment.
type secret struct{ name, value string }

// notSecret are files that are no secret, though they lie among them.
var notSecret = []string{"tools-public-key", "egress-public-key", "proxy-ca", "ca-certificate", "set"}

// secrets reads the volumes, as nobody but the host's root can.
func (d *deployment) secrets() (all []secret) {
	t := d.t
	for _, volume := range strings.Fields(d.run("docker", "volume", "ls", "-q", "--filter", "name="+project+"_secrets-")) {
		folder := strings.TrimSpace(d.run("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", volume))
		files, err := os.ReadDir(folder)
		require.NoError(t, err)
		require.NotEmpty(t, files, volume)
		for _, f := range files {
			if slices.Contains(notSecret, f.Name()) {
				continue
			}
			data, err := os.ReadFile(filepath.Join(folder, f.Name()))
			require.NoError(t, err)
			for line := range strings.Lines(string(data)) {
				value := strings.TrimSpace(line)
				if u, err := url.Parse(value); err == nil && u.User != nil {
					value, _ = u.User.Password()
				}
				if value != "" && !strings.HasPrefix(value, "-----") { // that is PEM's
					all = append(all, secret{strings.TrimPrefix(volume, project+"_") + "/" + f.Name(), value})
				}
			}
		}
	}
	require.Greater(t, len(all), 10, "that cannot be all secrets")
	return all
}

// testWalk: in each container, as its user, everything is read that can be, and
// a file is made wherever it can be.
func testWalk(t *testing.T, d *deployment) {
	secrets := d.secrets()
	var values []string
	for _, s := range secrets {
		values = append(values, s.value)
	}
	for _, s := range services {
		a := d.ask(d.containers(false)[s], question{Walk: true, Secrets: values})
		want := append([]string{"/dev/shm", "/dev/mqueue"}, users[s].writable...)
		for _, path := range a.Writable {
			ok := slices.ContainsFunc(want, func(w string) bool { return path == w || strings.HasPrefix(path, w+"/") }) || strings.HasPrefix(path, "/dev/")
			require.True(t, ok, "%s can write %s", s, path)
		}
		for path, numbers := range a.Found {
			var names []string
			for _, n := range numbers {
				names = append(names, secrets[n].name)
			}
			require.True(t, strings.HasPrefix(path, "/run/akmatori/"), "%s reads %v in %s", s, names, path)
		}
		t.Logf("%s writes %v, reads secrets in %d files", s, a.Writable, len(a.Found))
		if s == "akmatori-agent" {
			require.Len(t, a.Found, 1)
			require.Contains(t, a.Found, "/run/akmatori/worker-token")
		}
	}
}

// testSecrets: not in an environment, a command line, an image or a log.
func testSecrets(t *testing.T, d *deployment) {
	secrets := d.secrets()
	places := map[string]string{}
	for s, c := range d.containers(true) {
		places["inspection of "+s] = d.run("docker", "inspect", c.ID)
		out, err := d.try("sh", "-c", "docker logs "+c.ID+" 2>&1")
		require.NoError(t, err)
		places["log of "+s] = out
		if c.State.Pid == 0 {
			continue
		}
		for _, pid := range d.processes(c) {
			for _, f := range []string{"environ", "cmdline"} {
				data, err := os.ReadFile(fmt.Sprintf("/proc/%s/%s", pid, f))
				if err == nil { // it may have ended
					places[fmt.Sprintf("%s of process %s of %s", f, pid, s)] = string(data)
				}
			}
		}
	}
	for _, image := range []string{"akmatori-api:local", "akmatori-mcp:local", "akmatori-agent:local", "akmatori-demo:local"} {
		places["history of "+image] = d.run("docker", "history", "--no-trunc", image) + d.run("docker", "image", "inspect", image)
	}
	for place, text := range places {
		for _, s := range secrets {
			require.NotContains(t, text, s.value, "%s is in the %s", s.name, place)
		}
	}
	t.Logf("%d secrets are in none of %d places", len(secrets), len(places))
}

// processes gives the numbers of a container's, on the host.
func (d *deployment) processes(c container) []string {
	var pids []string
	for i, line := range strings.Split(strings.TrimSpace(d.run("docker", "top", c.ID, "-eo", "pid")), "\n") {
		if i > 0 {
			pids = append(pids, strings.TrimSpace(line))
		}
	}
	return pids
}

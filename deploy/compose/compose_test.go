//go:build compose

// Package compose_test proves docker-compose.yml in a real Docker engine: the
// Dockerfiles and the compose file as they are, on base images that are made
// without a registry. It needs root and the Debian packages docker.io,
// docker-compose and debootstrap, and touches no other engine, network or
// firewall of the machine: see engine.
package compose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

const (
	project = "akmatori-test"
	page    = "http://127.0.0.1:8080"
	release = "v1.2.3-4-gabcdef" // as git describes one
)

// services are those that keep running, and demo-world, in the order of the
// table's columns.
var services = []string{"akmatori-agent", "akmatori-api", "mcp-gateway", "credential-proxy", "postgres", "demo-world"}

// TestCompose is one story: from nothing to a concluded incident, then who can
// do what, then what it survives.
func TestCompose(t *testing.T) {
	e := start(t)
	e.build()
	probe := filepath.Join(e.dir, "probe")
	e.run("env", "CGO_ENABLED=0", "go", "build", "-buildvcs=false", "-o", probe, "./probe")

	began := time.Now()
	e.up("up", "-d", "--no-build")
	t.Logf("docker compose up took %s", time.Since(began).Round(time.Second))
	e.up("--profile", "demo", "up", "-d", "--no-build")
	d := &deployment{engine: e, probe: probe}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tail(e.up("--profile", "demo", "logs", "--no-color", "--tail", "40"), 20000))
		}
	})
	d.demo()
	for _, step := range []struct {
		name string
		do   func(*testing.T, *deployment)
	}{
		{"Config", testConfig},
		{"Demo", testDemo},
		{"Sizes", testSizes},
		{"Hardened", testHardened},
		{"Matrix", testMatrix},
		{"UselessWithoutToken", testUselessWithoutToken},
		{"Walk", testWalk},
		{"Secrets", testSecrets},
		{"Confined", testConfined},
		{"Restarted", testRestarted},
		{"Killed", testKilled},
		{"DownAndUp", testDownAndUp},
		{"InitAgain", testInitAgain},
		{"Refused", testRefused},
		{"SelfCheck", testSelfCheck},
		{"Rotated", testRotated},
		{"Restored", testRestored},
		{"ConfigurationFile", testConfigurationFile},
		{"TLS", testTLS},
		{"Pruned", testPruned},
		{"ExternalPostgres", testExternalPostgres},
	} {
		began := time.Now()
		t.Run(step.name, func(t *testing.T) { d.engine.t = t; step.do(t, d) })
		d.engine.t = t
		if t.Failed() {
			t.Fatalf("%s failed: what comes after it would fail, too", step.name)
		}
		t.Logf("%s took %s", step.name, time.Since(began).Round(time.Second))
	}
}

// deployment is the product as it runs, and how it is spoken to.
type deployment struct {
	*engine
	probe  string
	token  string // of the admin that the demo has made
	source string
	secret string // of the source
	sent   int
}

// demo waits for the profile's sample incident and takes over its account.
func (d *deployment) demo() {
	t := d.t
	require.Eventually(t, func() bool { return d.containers(true)["demo"].State.Status == "exited" }, 4*time.Minute, time.Second)
	c := d.containers(true)["demo"]
	require.Zero(t, c.State.ExitCode, d.run("docker", "logs", c.ID))
	folder := ""
	for _, m := range c.Mounts {
		if m.Destination == "/demo" {
			folder = m.Source
		}
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		return strings.TrimSpace(string(data))
	}
	d.token, d.source, d.secret = read("state/admin.token"), read("source.id"), read("source.secret")
}

func testDemo(t *testing.T, d *deployment) {
	out := d.run("docker", "logs", d.containers(true)["demo"].ID)
	for _, words := range []string{"incident 1:", "investigation: concluded", "summary: The root file system of demo-host is", "evidence, call c2:"} {
		require.Contains(t, out, words)
	}
	// Every process says which release it is.
	var system struct {
		Processes []struct {
			Kind, Version string
			Workers       []struct{ Build string }
		}
	}
	status, err := d.do(http.MethodGet, "/api/v1/system", d.token, nil, &system)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, system.Processes, 3, "api, gateway, proxy")
	for _, p := range system.Processes {
		require.Equal(t, release, p.Version, p.Kind)
		for _, w := range p.Workers {
			require.Equal(t, release, w.Build)
		}
	}
}

// do asks the published port, as a browser on the host would.
func (d *deployment) do(method, path, token string, body []byte, out any) (int, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return in(d.netns, func() (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, network, address) })
		}}}
	req, err := http.NewRequest(method, page+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err == nil && out != nil && res.StatusCode < 300 {
		err = json.Unmarshal(data, out)
	}
	return res.StatusCode, err
}

// alert sends one, as Alertmanager does: again until it is taken. It gives the
// title by which its incident is found.
func (d *deployment) alert() string {
	d.t.Helper()
	d.sent++
	title := fmt.Sprintf("Disk %d of demo-host fills up", d.sent)
	now := time.Now().UTC().Format(time.RFC3339Nano)
	labels := map[string]string{"alertname": "DiskAlmostFull", "instance": "demo-host", "severity": "warning", "number": strconv.Itoa(d.sent)}
	body, err := json.Marshal(map[string]any{
		"version": "4", "status": "firing", "receiver": "akmatori", "groupKey": fmt.Sprintf(`{}:{number="%d"}`, d.sent), "truncatedAlerts": 0,
		"groupLabels": labels, "commonLabels": labels, "commonAnnotations": map[string]string{}, "externalURL": "http://127.0.0.1:9093",
		"alerts": []any{map[string]any{"status": "firing", "labels": labels, "startsAt": now, "endsAt": "0001-01-01T00:00:00Z",
			"generatorURL": "", "fingerprint": fmt.Sprintf("%016x", d.sent), "annotations": map[string]string{"summary": title}}},
	})
	require.NoError(d.t, err)
	require.Eventually(d.t, func() bool {
		status, err := d.do(http.MethodPost, "/webhook/alert/"+d.source, d.secret, body, nil)
		return err == nil && status == http.StatusAccepted
	}, time.Minute, 200*time.Millisecond, "the alert is not taken")
	return title
}

// incidents gives all, or nil if the api is away.
func (d *deployment) incidents() []ops.Incident {
	var list struct{ Items []ops.Incident }
	if status, err := d.do(http.MethodGet, "/api/v1/incidents?limit=100", d.token, nil, &list); err != nil || status != http.StatusOK {
		return nil
	}
	return list.Items
}

func (d *deployment) find(title string) (found []ops.Incident) {
	for _, i := range d.incidents() {
		if i.Title == title {
			found = append(found, i)
		}
	}
	return found
}

// running waits until the investigation of an alert is under way.
func (d *deployment) running(title string) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		found := d.find(title)
		return len(found) == 1 && (found[0].Investigation == ops.RunRunning || found[0].Investigation.Final())
	}, time.Minute, 50*time.Millisecond)
}

// concluded waits for an alert's incident: one, concluded, with one set of findings.
func (d *deployment) concluded(title string) {
	t := d.t
	t.Helper()
	var last []ops.Incident
	require.Eventually(t, func() bool {
		last = d.find(title)
		return len(last) == 1 && last[0].Investigation.Final()
	}, 2*time.Minute, 200*time.Millisecond, "%s: %+v", title, last)
	require.Equal(t, ops.RunConcluded, last[0].Investigation, "%s: %s", title, last[0].InvestigationReason)
	var findings struct{ Items []json.RawMessage }
	status, err := d.do(http.MethodGet, "/api/v1/incidents/"+last[0].ID+"/findings", d.token, nil, &findings)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, findings.Items, 1, "findings of %s", title)
}

// healthy waits until every service is.
func (d *deployment) healthy() {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		all := d.containers(false)
		for _, s := range services {
			if all[s].State.Health.Status != "healthy" {
				return false
			}
		}
		return true
	}, 2*time.Minute, 300*time.Millisecond, "not every service is healthy")
}

// ask runs the probe in the namespaces of a container, as its user.
func (d *deployment) ask(c container, q question) answer {
	t := d.t
	t.Helper()
	uid, gid, _ := strings.Cut(c.Config.User, ":")
	file, err := os.Open(d.probe)
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	in, err := json.Marshal(q)
	require.NoError(t, err)
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(c.State.Pid), "-m", "-u", "-i", "-n", "-p", "-S", uid, "-G", gid, "--", "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{file} // the image need not have it
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Stdin = bytes.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "probe in %s: %s", c.Name, errs.String())
	var a answer
	require.NoError(t, json.Unmarshal(out.Bytes(), &a))
	a.Listeners = slices.DeleteFunc(a.Listeners, func(l string) bool { return strings.Contains(l, "127.0.0.11:") }) // the engine's own name server
	return a
}

// question and answer are those of the probe.
type question struct {
	TCP, UDP, Names, Post, Secrets []string
	Walk                           bool
}

type answer struct {
	Open, Resolved, Listeners, Writable []string
	Status                              map[string]int
	Found                               map[string][]int
	Process                             map[string]string
}

// testSizes bounds the images and prints what they and the containers take.
func testSizes(t *testing.T, d *deployment) {
	limits := map[string]int64{"akmatori-api:local": 70, "akmatori-mcp:local": 60, "akmatori-agent:local": 200}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "image\tMB\tat most")
	for _, image := range []string{"akmatori-api:local", "akmatori-mcp:local", "akmatori-agent:local"} {
		size, err := strconv.ParseInt(strings.TrimSpace(d.run("docker", "image", "inspect", "-f", "{{.Size}}", image)), 10, 64)
		require.NoError(t, err)
		_, _ = fmt.Fprintf(w, "%s\t%.1f\t%d\n", image, float64(size)/1e6, limits[image])
		require.LessOrEqual(t, size, limits[image]*1e6, image)
	}
	_, _ = fmt.Fprintln(w, "\ncontainer\tidle memory\tprocesses")
	_, _ = fmt.Fprint(w, strings.ReplaceAll(strings.ReplaceAll(d.run("docker", "stats", "--no-stream", "--format", "{{.Name}}|{{.MemUsage}}|{{.PIDs}}"), project, ""), "|", "\t"))
	_ = w.Flush()
	t.Log("\n" + b.String())
}

package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// BenchmarkSSH runs the same command three ways in turn, so that all meet the
// same machine: through the gateway (token, policy, two durable audited
// transactions, redaction), through the stock client over a ControlMaster, and
// over one bare connection of x/crypto/ssh. It reports medians in milliseconds
// and the median of the gateway's ratio to the others in the same round, which
// other work on the machine disturbs least.
//
// A command of 4.2 ms over the bare connection takes about 2.3 ms more through
// the gateway, on two idle cores: 0.43 look up the token and the target, 0.1
// judge, 0.53 make the intent durable, 0.46 the outcome, 0.25 are HTTP and the
// library's server and 0.4 its client; the rest is handing over from one to the
// next, and 0.15 are gained since the channel opens while the intent is written.
// Each of the three round trips to Postgres would take 0.15 if it did nothing.
// None waits for company: who comes alone is served at once.
func BenchmarkSSH(b *testing.B) {
	w := newWorld(b)
	s := sshtest.New(b)
	w.host("demo", s)
	r := w.run("allow:ssh_execute(uptime)")
	c := r.client(w.gateway)

	stock, err := exec.LookPath("ssh")
	require.NoError(b, err)
	control := filepath.Join(s.Dir, "c")
	options := []string{
		"-F", "none", "-S", control, "-i", s.KeyFile, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-p", strconv.Itoa(s.Port), s.User + "@127.0.0.1",
	}
	master := exec.CommandContext(context.WithoutCancel(b.Context()), stock, append([]string{"-M", "-N"}, options...)...)
	require.NoError(b, master.Start())
	b.Cleanup(func() {
		_ = master.Process.Kill()
		_ = master.Wait()
	})
	require.Eventually(b, func() bool {
		return exec.CommandContext(b.Context(), stock, append([]string{"-O", "check"}, options...)...).Run() == nil
	}, 10*time.Second, 20*time.Millisecond)

	signer, err := ssh.ParsePrivateKey([]byte(s.Key.Reveal()))
	require.NoError(b, err)
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.HostKey))
	require.NoError(b, err)
	bare, err := ssh.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), &ssh.ClientConfig{
		User: s.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(host), Timeout: 10 * time.Second,
	})
	require.NoError(b, err)
	b.Cleanup(func() { _ = bare.Close() })

	n := 0
	ways := []struct {
		name string
		once func()
		took []time.Duration
	}{
		{name: "gateway", once: func() {
			n++
			got := call(b, c, fmt.Sprintf("c%d", n), "ssh_execute", args{"target": "demo", "command": "uptime"})
			if got.State != ops.CallDone {
				b.Fatal(got)
			}
		}},
		{name: "controlmaster", once: func() {
			out, err := exec.CommandContext(b.Context(), stock, append(slices.Clone(options), "uptime")...).Output()
			if err != nil || !bytes.Contains(out, []byte("load")) {
				b.Fatalf("%q %v", out, err)
			}
		}},
		{name: "bare", once: func() {
			session, err := bare.NewSession()
			if err != nil {
				b.Fatal(err)
			}
			if out, err := session.Output("uptime"); err != nil || !bytes.Contains(out, []byte("load")) {
				b.Fatalf("%q %v", out, err)
			}
		}},
	}
	for _, way := range ways {
		way.once() // connections are made
	}
	for round := 0; b.Loop(); round++ {
		for k := range ways {
			i := (round + k) % len(ways) // none always comes behind the same other
			start := time.Now()
			ways[i].once()
			ways[i].took = append(ways[i].took, time.Since(start))
		}
	}
	for i, way := range ways {
		b.ReportMetric(median(way.took)/float64(time.Millisecond), way.name+"-ms")
		if i == 0 {
			continue
		}
		ratios := make([]float64, len(way.took))
		for round := range ratios {
			ratios[round] = float64(ways[0].took[round]) / float64(way.took[round])
		}
		b.ReportMetric(median(ratios), "x-"+way.name)
	}
}

func median[N float64 | time.Duration](of []N) float64 {
	return float64(slices.Sorted(slices.Values(of))[len(of)/2])
}

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

	"github.com/akmatori/akmatori/internal/postgres/pgtest"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// warmUp is how often each contender of a benchmark has its turn before it counts.
const warmUp = 10

// BenchmarkSSH runs the same command three ways in turn, so that all meet the
// same machine: through the gateway (token, policy, two durable audited
// transactions, redaction), through the stock client over a ControlMaster, and
// over one bare connection of x/crypto/ssh. It reports medians in milliseconds
// and the median of the gateway's ratio to the others in the same round, which
// other work on the machine disturbs least.
//
// A command of 4.0 ms over the bare connection takes about 2 ms more through the
// gateway: 0.3 until the request is read, 0.2 in the library, 0.15 to judge, 0.7 to
// make the intent durable, while a channel opens, 0.5 the outcome, of both 0.1 to
// sign, and 0.3 until the answer is read. Nothing is looked up (package comment).
// None waits for company: who comes alone is served at once.
func BenchmarkSSH(b *testing.B) {
	w := newWorldOn(b, pgtest.NewDurable(b).DB)
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
			res, err := c.CallTool(b.Context(), request(fmt.Sprintf("c%d", n), "ssh_execute", args{"target": "demo", "command": "uptime"}, nil))
			if err != nil || res.IsError {
				b.Fatalf("%v %v", res, err)
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
	for range warmUp {
		for i := range ways {
			ways[i].once() // connections are made, and what is done at first only
		}
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

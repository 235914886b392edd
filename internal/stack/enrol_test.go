package stack_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/config"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
)

// TestEnrolment: a host behind a jump host is added without its key. What it
// shows is not trusted; the key that a person confirms is, that one alone, and
// when the host has another one this is said.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	gate, s := sshtest.New(t), sshtest.New(t)
	c := prepare(t, "name: none\nmodel: none\nturns: [{text: nothing}]\n")
	jump := gate.Target("gate")
	c.configure(config.File{
		Credentials: []config.Credential{{Name: "gate-key", Kind: "ssh_key", Secret: gate.Key, Targets: []string{"gate"}}},
		Targets:     []config.Target{{Name: "gate", Kind: "ssh", Address: jump.Address, Port: jump.Port, User: jump.User, HostKey: jump.HostKey, Credential: "gate-key"}},
	})
	c.startAll()
	c.procs["mcp"].ready()

	type body = map[string]any
	send := func(path string, in any, want int, out any) string {
		t.Helper()
		status, answer := c.send("POST", "/api/v1"+path, in)
		require.Equal(t, want, status, string(answer))
		if out != nil {
			require.NoError(t, json.Unmarshal(answer, out))
		}
		return string(answer)
	}
	var target ops.Target
	send("/credentials", body{"name": "new-key", "kind": "ssh_key", "secret": s.Key.Reveal(), "targets": []string{"new"}}, 201, nil)
	send("/targets", body{"name": "new", "kind": "ssh", "address": "127.0.0.1", "port": s.Port, "user": s.User, "credential": "new-key", "jump": "gate"}, 201, &target)
	require.Empty(t, target.HostKey)
	one := "/targets/" + target.ID
	var test struct {
		OK      bool
		Message string
	}
	try := func() string {
		t.Helper()
		test.OK = false
		send(one+"/test", nil, 200, &test)
		return test.Message
	}
	require.Contains(t, try(), "no host key is pinned for new")

	var scan struct {
		State   string
		Pinned  []struct{ Type, Fingerprint string }
		Offered []ops.HostKey
	}
	send(one+"/host-key/scan", nil, 200, &scan)
	require.Equal(t, "new", scan.State)
	require.Empty(t, scan.Pinned)
	require.Len(t, scan.Offered, 1)
	first := scan.Offered[0]
	require.Equal(t, sshtest.Fingerprint(t, s.HostKey), first.Type+" "+first.Fingerprint)
	require.NotContains(t, s.Log(), "Accepted publickey")

	// Another fingerprint than the host's is not taken, and nothing else is.
	_, other, _ := strings.Cut(sshtest.Fingerprint(t, gate.HostKey), " ")
	require.Contains(t, send(one+"/host-key/accept", body{"fingerprint": other}, 409, nil), "does not offer a key with this fingerprint")
	send(one+"/host-key/accept", body{"fingerprint": "SHA256:x"}, 422, nil)
	require.Contains(t, try(), "no host key is pinned for new")
	send(one+"/host-key/accept", body{"fingerprint": first.Fingerprint}, 200, &target)
	require.Equal(t, s.HostKey, target.HostKey)
	require.Contains(t, try(), "takes the login of")
	require.True(t, test.OK)
	send(one+"/host-key/scan", nil, 200, &scan)
	require.Equal(t, "trusted", scan.State)

	// The host was set up anew.
	s.NewHostKey()
	s.Restart()
	require.Contains(t, try(), "is not the pinned one")
	require.False(t, test.OK)
	send(one+"/host-key/scan", nil, 200, &scan)
	require.Equal(t, "changed", scan.State)
	require.Equal(t, first.Fingerprint, scan.Pinned[0].Fingerprint)
	require.NotEqual(t, first.Fingerprint, scan.Offered[0].Fingerprint)
	send(one+"/host-key/accept", body{"fingerprint": scan.Offered[0].Fingerprint}, 200, &target)
	require.Equal(t, s.HostKey, target.HostKey, "the old one is trusted no more")
	require.Contains(t, try(), "takes the login of")

	// An authority is accepted in the same way, beside the key.
	ca := sshtest.NewAuthority(t)
	s.Certify(ca, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "127.0.0.1")
	send(one+"/host-key/scan", nil, 200, &scan)
	require.NotNil(t, scan.Offered[0].Authority)
	send(one+"/host-key/accept", body{"fingerprint": scan.Offered[0].Authority.Fingerprint, "keep": true}, 200, &target)
	require.Equal(t, s.HostKey+"\n"+ops.CertAuthority+" "+ca.Public, target.HostKey)
	s.NewHostKey()
	s.Certify(ca, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "127.0.0.1")
	require.Contains(t, try(), "takes the login of")

	// Only hosts have keys, and only targets can be tried.
	send("/targets/"+ops.NewID()+"/test", nil, 404, nil)
	send("/targets/x/host-key/scan", nil, 404, nil)
}

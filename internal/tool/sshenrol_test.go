package tool_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

var (
	yesterday = time.Now().Add(-24 * time.Hour)
	tomorrow  = time.Now().Add(24 * time.Hour)
)

// packed is a private key with what belongs to it, as it is sealed.
func packed(t *testing.T, parts map[string]string) ops.Secret {
	t.Helper()
	raw, err := json.Marshal(parts)
	require.NoError(t, err)
	return ops.NewSecret(string(raw))
}

// rsaKey makes a key pair of type RSA.
func rsaKey(t *testing.T) (private, public string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	line, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line)))
}

// TestOpenSSHLogins: what people log in with.
func TestOpenSSHLogins(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t)
	ca, stranger := sshtest.NewAuthority(t), sshtest.NewAuthority(t)
	s.TrustUsers(ca)
	p := newPool(t)

	private, public := sshtest.Key(t, "") // not in authorized_keys: only its certificate opens
	rsaPrivate, rsaPublic := rsaKey(t)
	s.Authorize(rsaPublic)
	_, otherPublic := sshtest.Key(t, "")
	sign := func(a *sshtest.Authority, public string, from, to time.Time) string {
		return a.Sign(t, public, false, from, to, s.User)
	}
	for name, row := range map[string]struct {
		secret ops.Secret
		fails  string
	}{
		"ed25519":                      {secret: s.Key},
		"rsa":                          {secret: ops.NewSecret(rsaPrivate)},
		"certificate":                  {secret: packed(t, map[string]string{"key": private.Reveal(), "certificate": sign(ca, public, yesterday, tomorrow)})},
		"without the certificate":      {secret: private, fails: "refuses the login"},
		"another authority":            {secret: packed(t, map[string]string{"key": private.Reveal(), "certificate": sign(stranger, public, yesterday, tomorrow)}), fails: "refuses the login"},
		"an expired certificate":       {secret: packed(t, map[string]string{"key": private.Reveal(), "certificate": sign(ca, public, yesterday, yesterday.Add(time.Hour))}), fails: "has expired: it was valid until"},
		"a certificate for later":      {secret: packed(t, map[string]string{"key": private.Reveal(), "certificate": sign(ca, public, tomorrow, tomorrow.Add(time.Hour))}), fails: "is not valid before"},
		"a certificate of another key": {secret: packed(t, map[string]string{"key": private.Reveal(), "certificate": sign(ca, otherPublic, yesterday, tomorrow)}), fails: "is for another key"},
		"a certificate for hosts":      {secret: packed(t, map[string]string{"key": private.Reveal(), "certificate": ca.Sign(t, public, true, yesterday, tomorrow, s.User)}), fails: "not one of OpenSSH for users"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := p.Run(t.Context(), []tool.Hop{hop(s.Target("t"), row.secret, nil)}, nil, "echo in", tool.Sink{})
			if row.fails == "" {
				require.NoError(t, err)
				require.Equal(t, "in\n", out.Text)
				return
			}
			require.ErrorContains(t, err, row.fails)
			require.NotContains(t, err.Error(), "PRIVATE KEY")
		})
	}
}

// TestOpenSSHHostAuthority: a host is believed by a certificate that is for it,
// for hosts, valid, and of the pinned authority.
func TestOpenSSHHostAuthority(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t)
	ca, stranger := sshtest.NewAuthority(t), sshtest.NewAuthority(t)
	p := newPool(t)
	try := func(hostKey string) error {
		target := s.Target("certified")
		target.HostKey = hostKey
		_, err := p.Run(t.Context(), []tool.Hop{hop(target, s.Key, nil)}, nil, "echo in", tool.Sink{})
		return err
	}
	pinned := ops.CertAuthority + " " + ca.Public
	var refused *tool.HostKeyError

	require.ErrorAs(t, try(pinned), &refused, "it has no certificate yet")
	s.Certify(ca, yesterday, tomorrow, "127.0.0.1")
	require.NoError(t, try(pinned))
	require.NoError(t, try(stranger.Public+"\n"+pinned), "one of several suffices")
	require.NoError(t, try(s.HostKey), "its own key is as good as before")
	require.NoError(t, try(ops.CertAuthority+" "+stranger.Public+"\n"+s.HostKey), "the key in a certificate of somebody else is pinned")
	require.ErrorAs(t, try(ops.CertAuthority+" "+stranger.Public), &refused)
	require.Contains(t, refused.Offered, "certified by "+sshtest.Fingerprint(t, ca.Public))
	require.Equal(t, []string{"authority " + sshtest.Fingerprint(t, stranger.Public)}, refused.Pinned)
	require.ErrorAs(t, try(ca.Public), &refused, "an authority is no host key")
	_, other := sshtest.Key(t, "")
	require.ErrorAs(t, try(ops.CertAuthority+" "+other), &refused)

	s.Certify(ca, yesterday, tomorrow, "db-1.example.com")
	require.ErrorAs(t, try(pinned), &refused, "it is for another host")
	s.Certify(ca, yesterday, yesterday.Add(time.Hour), "127.0.0.1")
	require.ErrorAs(t, try(pinned), &refused, "it has expired")
}

// TestOpenSSHEnrol: a host shows its keys to who has none of them, also behind
// a jump host, and no login is tried there.
func TestOpenSSHEnrol(t *testing.T) {
	t.Parallel()
	jump, inner := sshtest.New(t), sshtest.New(t)
	p := newPool(t)
	scan, login := named(t, p, "ssh_host_keys"), named(t, p, "ssh_login")
	require.True(t, scan.Service && scan.Keyless && login.Service && !login.Keyless)
	target := inner.Target("inner")
	target.HostKey = ""
	way := []tool.Hop{hop(jump.Target("jump"), jump.Key, nil), {Target: target}}
	keys := func(hops []tool.Hop) (keys []ops.HostKey) {
		t.Helper()
		out, err := scan.Run(t.Context(), tool.Call{Hops: hops})
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(out.Data, &keys))
		return keys
	}
	got := keys(way)
	require.Len(t, got, 1)
	require.Equal(t, inner.HostKey, got[0].Key)
	require.Equal(t, sshtest.Fingerprint(t, inner.HostKey), got[0].Type+" "+got[0].Fingerprint)
	require.False(t, got[0].Pinned)
	require.Nil(t, got[0].Authority)
	require.NotContains(t, inner.Log(), "Accepted")
	require.NotContains(t, inner.Log(), "Failed")

	// What is pinned is known as such, and a certificate shows who has signed it.
	way[1].Target.HostKey = got[0].Key
	require.True(t, keys(way)[0].Pinned)
	ca := sshtest.NewAuthority(t)
	inner.Certify(ca, yesterday, tomorrow, "127.0.0.1")
	got = keys(way[1:])
	require.Len(t, got, 2)
	require.Equal(t, ca.Public, got[0].Authority.Key)
	require.Equal(t, []string{"127.0.0.1"}, got[0].Principals)
	inner.NewRSAHostKey()
	inner.Restart()
	got = keys(way[1:])
	require.Equal(t, "ssh-rsa", got[len(got)-1].Type)
	require.False(t, got[len(got)-1].Pinned)

	// A login shows that everything fits, or what does not.
	try := func(hops ...tool.Hop) string {
		out, err := login.Run(t.Context(), tool.Call{Hops: hops})
		if err != nil {
			return ops.MessageOf(err)
		}
		return out.Text
	}
	good := hop(inner.Target("inner"), inner.Key, nil)
	require.Contains(t, try(way[0], good), "takes the login of "+inner.User)
	require.Contains(t, try(good), "takes the login of "+inner.User)
	wrong, _ := sshtest.Key(t, "")
	require.Contains(t, try(way[0], hop(inner.Target("inner"), wrong, nil)), "refuses the login")
	moved := good
	moved.Target.HostKey = jump.HostKey
	require.Contains(t, try(way[0], moved), "is not the pinned one")
	forced := sshtest.New(t, "ForceCommand /bin/false")
	require.Contains(t, try(hop(forced.Target("forced"), forced.Key, nil)), "runs no commands")
	way[0].Target.HostKey = ""
	_, err := scan.Run(t.Context(), tool.Call{Hops: way})
	require.ErrorContains(t, err, "no host key is pinned for jump")
}

// TestWithdraw: a connection of a credential that is withdrawn takes no command.
func TestOpenSSHWithdraw(t *testing.T) {
	t.Parallel()
	s := sshtest.New(t)
	p := newPool(t)
	h := hop(s.Target("demo"), s.Key, nil)
	require.Equal(t, "x\n", run(t, p, "echo x", h).Text)
	require.Equal(t, []string{h.Credential.ID}, p.Credentials())
	p.Withdraw([]string{ops.NewID()})
	require.NotEmpty(t, p.Credentials())
	p.Withdraw([]string{h.Credential.ID})
	require.Empty(t, p.Credentials())
	require.Nil(t, p.Ahead([]tool.Hop{h}))
	require.Eventually(t, func() bool {
		return strings.Contains(s.Log(), "Disconnected from user") || strings.Contains(s.Log(), "Connection closed by") || strings.Contains(s.Log(), "Received disconnect")
	}, 5*time.Second, 20*time.Millisecond)
}

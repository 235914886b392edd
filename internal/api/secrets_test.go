package api

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool/sshtest"
)

// TestSecrets: a secret that cannot work is refused with what to do about it,
// and no answer has a word of it.
func TestSecrets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain, public := sshtest.Key(t, "")
	locked, _ := sshtest.Key(t, "correct horse")
	ca := sshtest.NewAuthority(t)
	certificate := ca.Sign(t, public, false, time.Now(), time.Now().Add(time.Hour), "ops")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	block := func(kind string, der []byte, headers map[string]string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der, Headers: headers}))
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dek := map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}
	const canary = "c2VjcmV0LWNhbmFyeS1jMmVj"
	type body = map[string]any
	for i, row := range []struct {
		in   body
		want string // of the answer; empty: it is taken
	}{
		{body{"secret": plain.Reveal()}, ""},
		{body{"secret": strings.ReplaceAll(plain.Reveal(), "\n", "\r\n")}, ""},
		{body{"secret": "\n " + plain.Reveal() + "\n\n"}, ""},
		{body{"secret": locked.Reveal(), "passphrase": "correct horse"}, ""},
		{body{"secret": plain.Reveal(), "certificate": certificate + " me@laptop\n"}, ""},
		{body{"secret": block("RSA PRIVATE KEY", pkcs1, nil)}, ""},
		{body{"secret": block("PRIVATE KEY", pkcs8, nil)}, ""},
		{body{"secret": block("RSA PRIVATE KEY", []byte(canary), dek), "passphrase": "x"}, ""},

		{body{"secret": locked.Reveal()}, "give its passphrase too"},
		{body{"secret": block("RSA PRIVATE KEY", []byte(canary), dek)}, "give its passphrase too"},
		{body{"secret": plain.Reveal(), "passphrase": canary}, "no passphrase to give"},
		{body{"secret": public}, "is a public key"},
		{body{"secret": certificate}, "is a public key"},
		{body{"secret": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n" + canary}, "key of PuTTY"},
		{body{"secret": canary}, "is not a private key: it begins with"},
		{body{"secret": strings.Split(plain.Reveal(), "-----END")[0]}, "pasted whole"},
		{body{"secret": plain.Reveal() + canary}, "something behind the private key"},
		{body{"secret": block("RSA PRIVATE KEY", []byte(canary), nil)}, "the private key is damaged"},
		{body{"secret": block("EC PRIVATE KEY", []byte(canary), nil)}, "the private key is damaged"},
		{body{"secret": block("PRIVATE KEY", []byte(canary), nil)}, "the private key is damaged"},
		{body{"secret": block("OPENSSH PRIVATE KEY", []byte(canary), nil)}, "the private key is damaged"},
		{body{"secret": block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00\xff\xff\xff\xffx"), nil)}, "the private key is damaged"},
		{body{"secret": block("ENCRYPTED PRIVATE KEY", []byte(canary), nil)}, "ssh-keygen -p -f FILE"},
		{body{"secret": block("DSA PRIVATE KEY", []byte(canary), nil)}, "ssh-keygen -t ed25519"},
		{body{"secret": block("CERTIFICATE", []byte(canary), nil)}, "something else in PEM form"},
		{body{"secret": plain.Reveal(), "certificate": public}, "certificate is not of the form"},
		{body{"secret": plain.Reveal(), "certificate": "ssh-ed25519-cert-v01@openssh.com " + canary}, "certificate is not of the form"},
		{body{"kind": "ssh_password", "secret": canary, "passphrase": "x"}, "of an ssh_key alone"},
		{body{"kind": "ssh_password", "secret": canary + "\n"}, "contains a line break"},
		{body{"kind": "http_basic", "secret": canary}, "user:password"},
	} {
		in := body{"name": "k" + ops.NewID(), "kind": "ssh_key", "targets": []string{"*"}}
		for k, v := range row.in {
			in[k] = v
		}
		a := r.call("POST", "/api/v1/credentials", in)
		require.NotContains(t, a.body, canary, i)
		require.NotContains(t, a.body, strings.Split(plain.Reveal(), "\n")[1], i)
		if row.want == "" {
			require.Equal(t, 201, a.status, "%d: %s", i, a.body)
			continue
		}
		require.Equal(t, 422, a.status, "%d: %s", i, row.want)
		require.Contains(t, a.body, row.want, i)
	}
	require.NotContains(t, r.log.String(), canary)
}

// TestCredentialChanges: another secret is another version; a disabled one is
// shown as such.
func TestCredentialChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	type body = map[string]any
	first, _ := sshtest.Key(t, "")
	second, _ := sshtest.Key(t, "")
	var c ops.Credential
	r.call("POST", "/api/v1/credentials", body{"name": "key", "kind": "ssh_key", "secret": first.Reveal(), "targets": []string{"db-*"}}).into(t, &c)
	path := "/api/v1/credentials/" + c.ID

	before, err := r.db.CredentialByName(t.Context(), "key")
	require.NoError(t, err)
	a := r.call("POST", path+"/rotate", body{"secret": second.Reveal()})
	require.Equal(t, 200, a.status, a.body)
	a.into(t, &c)
	require.Equal(t, 2, c.Version)
	require.NotNil(t, c.RotatedAt)
	after, err := r.db.CredentialByName(t.Context(), "key")
	require.NoError(t, err)
	require.NotEqual(t, before.Sealed, after.Sealed)
	require.Equal(t, 422, r.call("POST", path+"/rotate", body{"secret": "no key"}).status)
	again, err := r.db.CredentialByName(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, after, again, "what is refused changes nothing")

	a = r.call("PATCH", path, body{"disabled": true})
	require.Equal(t, 200, a.status, a.body)
	a.into(t, &c)
	require.NotNil(t, c.DisabledAt)
	require.Contains(t, r.call("GET", "/api/v1/credentials", nil).body, `"disabled_at":"`)
	c = ops.Credential{}
	r.call("PATCH", path, body{"disabled": false}).into(t, &c)
	require.Nil(t, c.DisabledAt)
	for _, id := range []string{ops.NewID(), "x"} {
		require.Equal(t, 404, r.call("PATCH", "/api/v1/credentials/"+id, body{"disabled": true}).status, id)
		require.Equal(t, 404, r.call("POST", "/api/v1/credentials/"+id+"/rotate", body{"secret": second.Reveal()}).status, id)
	}
	records, err := r.db.Audit(t.Context(), Chain, 0, 100)
	require.NoError(t, err)
	var seen []string
	for _, rec := range records {
		if rec.Object == c.ID && rec.Outcome == "ok" {
			seen = append(seen, rec.Action)
		}
	}
	require.Equal(t, []string{"credential.created", "credential.rotated", "credential.disabled", "credential.enabled"}, seen)
}

package tool

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// TestKeyWithPassphrase: opening one takes its time, so it is not done at a login here.
func TestKeyWithPassphrase(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("battery staple"))
	require.NoError(t, err)
	raw, err := json.Marshal(map[string]string{"key": string(pem.EncodeToMemory(block)), "passphrase": "battery staple"})
	require.NoError(t, err)
	signer, parts, err := parseKey(ops.NewSecret(string(raw)), time.Now())
	require.NoError(t, err)
	require.Equal(t, ssh.KeyAlgoRSA, signer.PublicKey().Type())
	require.Equal(t, "battery staple", parts[1].Reveal(), "it is looked for in what comes back")
}

// FuzzParseKey: whatever was sealed, what is said about it is none of it.
func FuzzParseKey(f *testing.F) {
	f.Add("secret-word-0001")
	f.Add(`{"key":"secret-word-0001","certificate":"ssh-ed25519-cert-v01@openssh.com AAAA"}`)
	f.Add("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _, err := parseKey(ops.NewSecret(text), time.Now())
		if err != nil && len(text) > 30 {
			require.NotContains(t, err.Error(), text)
		}
	})
}

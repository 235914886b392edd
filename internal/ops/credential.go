package ops

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"strings"
)

// CredentialSecret is the secret of a credential as somebody gives it. It is
// sealed at once, and no answer has it.
type CredentialSecret struct {
	Secret      Secret `json:"secret" minLength:"1" maxLength:"65536" doc:"Never shown again. Of an ssh_key: a private key in OpenSSH's or PEM form. Of an http_basic: user:password."`
	Passphrase  Secret `json:"passphrase,omitempty" maxLength:"1024" doc:"Of an ssh_key that has one."`
	Certificate string `json:"certificate,omitempty" maxLength:"16384" doc:"Of an ssh_key: its certificate for users, as in its file id_…-cert.pub."`
}

// Of checks the secret of a credential of that kind, and gives it as it is
// sealed. What is wrong is said without a word of it.
func (in CredentialSecret) Of(kind string) (Secret, error) {
	if kind != "ssh_key" {
		switch {
		case !in.Passphrase.Empty() || in.Certificate != "":
			return Secret{}, Errorf(CodeInvalid, "passphrase and certificate are of an ssh_key alone")
		case strings.ContainsAny(in.Secret.Reveal(), "\x00\r\n"):
			return Secret{}, Errorf(CodeInvalid, "the secret contains a line break")
		case kind == "http_basic" && !strings.Contains(in.Secret.Reveal(), ":"):
			return Secret{}, Errorf(CodeInvalid, "the secret of an http_basic is of the form user:password")
		}
		return in.Secret, nil
	}
	encrypted, err := checkPrivateKey(in.Secret)
	switch {
	case err != nil:
		return Secret{}, err
	case encrypted && in.Passphrase.Empty():
		return Secret{}, Errorf(CodeInvalid, "the private key is encrypted: give its passphrase too")
	case !encrypted && !in.Passphrase.Empty():
		return Secret{}, Errorf(CodeInvalid, "the private key is not encrypted, so there is no passphrase to give")
	}
	certificate := strings.Fields(in.Certificate)
	if in.Certificate != "" && (len(certificate) < 2 || !strings.HasSuffix(certificate[0], "-cert-v01@openssh.com") || !IsKeyBlob(certificate[0], certificate[1])) {
		return Secret{}, Errorf(CodeInvalid, "certificate is not of the form \"ssh-ed25519-cert-v01@openssh.com AAAA…\"")
	}
	if in.Passphrase.Empty() && in.Certificate == "" {
		return in.Secret, nil
	}
	whole := map[string]string{"key": in.Secret.Reveal()}
	if !in.Passphrase.Empty() {
		whole["passphrase"] = in.Passphrase.Reveal()
	}
	if in.Certificate != "" {
		whole["certificate"] = certificate[0] + " " + certificate[1]
	}
	raw, err := json.Marshal(whole)
	return NewSecret(string(raw)), err
}

// checkPrivateKey says whether a private key is encrypted, or what it is
// instead of one that can be used.
func checkPrivateKey(secret Secret) (encrypted bool, err error) {
	wrong := func(format string, args ...any) (bool, error) {
		return false, Errorf(CodeInvalid, format, args...)
	}
	text := strings.TrimSpace(secret.Reveal())
	switch first, _, _ := strings.Cut(text, " "); {
	case strings.HasPrefix(text, "PuTTY-User-Key-File"):
		return wrong("the secret is a key of PuTTY: export it in OpenSSH's form (puttygen, Conversions)")
	case strings.HasPrefix(first, "ssh-"), strings.HasPrefix(first, "ecdsa-"), strings.HasPrefix(first, "sk-"):
		return wrong("the secret is a public key: the private one is in the file without .pub")
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return wrong("the secret is not a private key: it begins with -----BEGIN … PRIVATE KEY----- and ends with -----END … PRIVATE KEY-----, and is pasted whole")
	case len(bytes.TrimSpace(rest)) > 0:
		return wrong("there is something behind the private key")
	}
	switch block.Type {
	case "OPENSSH PRIVATE KEY":
		return checkOpenSSH(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return wrong("the private key is encrypted in a form that SSH does not read: convert it with ssh-keygen -p -f FILE")
	case "PRIVATE KEY":
		_, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		if encrypted = block.Headers["DEK-Info"] != ""; !encrypted {
			_, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		}
	case "EC PRIVATE KEY":
		if encrypted = block.Headers["DEK-Info"] != ""; !encrypted {
			_, err = x509.ParseECPrivateKey(block.Bytes)
		}
	default:
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return wrong("private keys of this kind are not used any more: make one with ssh-keygen -t ed25519")
		}
		return wrong("the secret is not a private key but something else in PEM form")
	}
	if err != nil {
		return wrong("the private key is damaged")
	}
	return encrypted, nil
}

// checkOpenSSH reads the unencrypted head of a private key as of OpenSSH's
// PROTOCOL.key: a magic word, then the name of the cipher.
func checkOpenSSH(raw []byte) (encrypted bool, err error) {
	const magic = "openssh-key-v1\x00"
	rest, ok := bytes.CutPrefix(raw, []byte(magic))
	if ok && len(rest) > 4 {
		if n := binary.BigEndian.Uint32(rest); n > 0 && n < 64 && len(rest) > 4+int(n) {
			return string(rest[4:4+n]) != "none", nil
		}
	}
	return false, Errorf(CodeInvalid, "the private key is damaged")
}

// IsKeyBlob says whether blob is base64 of a public key or certificate of that
// type: a length and the type's name, followed by more.
func IsKeyBlob(kind, blob string) bool {
	raw, err := base64.StdEncoding.DecodeString(blob)
	if err != nil || len(raw) < 4 {
		return false
	}
	n := binary.BigEndian.Uint32(raw)
	return uint64(len(raw)) > 4+uint64(n) && string(raw[4:4+n]) == kind
}

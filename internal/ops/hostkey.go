package ops

import "strings"

// HostKey is a public key that a host has proved to have.
type HostKey struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"` // SHA256:…, as ssh-keygen -l shows it
	Key         string `json:"key"`         // as a line of [Target.HostKey]
	// Pinned says that it is what the target's HostKey trusts.
	Pinned bool `json:"pinned"`
	// Authority has signed a certificate for it, if there is one, for these names.
	Authority  *HostKey `json:"authority,omitempty"`
	Principals []string `json:"principals,omitempty"`
}

// HostKeys checks pinned host keys, one a line, and gives them without comments
// and blank lines. Without one nothing logs in to the host: its key must be
// accepted first.
func HostKeys(text string) (string, error) {
	var keys []string
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		mark, fields := "", strings.Fields(l)
		if fields[0] == CertAuthority {
			mark, fields = CertAuthority+" ", fields[1:]
		}
		if len(fields) < 2 || !IsHostKey(fields[0], fields[1]) {
			return "", Errorf(CodeInvalid, "line %d of host_key is not of the form \"ssh-ed25519 AAAA…\" or \"@cert-authority ssh-ed25519 AAAA…\"", len(keys)+1)
		}
		keys = append(keys, mark+fields[0]+" "+fields[1])
	}
	return strings.Join(keys, "\n"), nil
}

// IsHostKey says whether blob is a public key of that type, which is one that
// hosts have.
func IsHostKey(kind, blob string) bool {
	switch kind {
	case "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
		"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com":
	default:
		return false
	}
	return IsKeyBlob(kind, blob)
}

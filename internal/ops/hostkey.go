package ops

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

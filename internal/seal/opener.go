package seal

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// rereadEvery bounds how often an [Opener] reads its ring: a row that no key
// opens must not make every call read a file.
const rereadEvery = time.Second

// Opener opens with a ring that is rotated while its process runs. A credential
// that was sealed with a key that the ring does not have makes it read the ring
// again, at most once a second. It is safe for concurrent use.
type Opener struct {
	read func() (ops.Secret, error)

	mu   sync.Mutex
	ring Ring
	next time.Time // when it may be read again
}

// NewOpener starts with ring. read gives its newest text form; nil means that
// it never changes.
func NewOpener(ring Ring, read func() (ops.Secret, error)) *Opener {
	return &Opener{ring: ring, read: read}
}

// Open is [Ring.Open] of the newest ring.
func (o *Opener) Open(cred ops.Credential) (ops.Secret, error) {
	o.mu.Lock()
	ring := o.ring
	o.mu.Unlock()
	plaintext, err := ring.Open(cred)
	if !errors.Is(err, ErrUnknownKey) || o.read == nil {
		return plaintext, err
	}
	ring, readErr := o.reread()
	if readErr != nil {
		return ops.Secret{}, fmt.Errorf("%w; its newest form cannot be read: %w", err, readErr)
	}
	return ring.Open(cred)
}

// reread gives the newest ring. Who comes while another reads waits for it.
func (o *Opener) reread() (Ring, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Now().Before(o.next) {
		return o.ring, nil
	}
	o.next = time.Now().Add(rereadEvery)
	text, err := o.read()
	if err != nil {
		return Ring{}, err
	}
	ring, err := ParseRing(o.ring.zone, text)
	if err != nil {
		return Ring{}, err
	}
	o.ring = ring
	return ring, nil
}

// Missing checks that the ring has the keys of stored credentials, at the start
// of a process. It gives an error that says which key is missing, and the names
// of the credentials that do not open although their key is there: those were
// changed by somebody, and the others still work.
func (o *Opener) Missing(stored []ops.Credential) (damaged []string, err error) {
	for _, c := range stored {
		switch _, err := o.Open(c); {
		case errors.Is(err, ErrUnknownKey):
			return damaged, fmt.Errorf("the credential %q is %w: the key ring belongs to another deployment or is older than the database; give this process the ring that it was sealed for, or restore a backup", c.Name, err)
		case err != nil:
			damaged = append(damaged, c.Name)
		}
	}
	return damaged, nil
}

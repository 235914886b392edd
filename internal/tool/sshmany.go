package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"golang.org/x/sync/errgroup"
)

// Limits of a call on several hosts.
const (
	maxHosts    = 20
	hostsAtOnce = 8
)

// onHost is what became of a command on one of several hosts.
type onHost struct {
	Host     string `json:"host"`
	ExitCode *int   `json:"exit_code,omitempty"`
	// Problem says why it did not end by itself, or did not start.
	Problem string `json:"problem,omitempty"`
	// Left counts bytes of output that are not even kept.
	Left int64 `json:"left_out,omitempty"`

	text string
}

// runMany runs a command on several hosts. What goes wrong on one is a part of
// the result and stops no other; the error is of the first host that had another
// key than the pinned one, which people must hear of.
func (p *Pool) runMany(ctx context.Context, c Call) (Outcome, error) {
	hosts := make([]onHost, len(c.Ways))
	keys := make([]*HostKeyError, len(c.Ways))
	live := lines{to: c.Sink.Live}
	var group errgroup.Group
	group.SetLimit(hostsAtOnce)
	for i, hops := range c.Ways {
		h := &hosts[i]
		h.Host = hops[len(hops)-1].Target.Name
		group.Go(func() error {
			out, err := p.Run(ctx, hops, nil, c.Command, Sink{Live: live.of(h.Host)})
			h.text, h.ExitCode, h.Problem, h.Left = out.Text, out.ExitCode, out.Stopped, out.Truncated
			if err != nil {
				h.Problem = ops.MessageOf(err)
				_ = errors.As(err, &keys[i])
			}
			return nil
		})
	}
	_ = group.Wait() // nothing fails
	o, err := together(hosts, c.Sink.Keep)
	if err != nil {
		return Outcome{}, err
	}
	for _, refused := range keys {
		if refused != nil {
			return o, refused
		}
	}
	return o, nil
}

// together makes one result of what came from several hosts: a part for each,
// of which the middle is left out if they are too long for one result. All parts
// are kept then.
func together(hosts []onHost, keep func(ops.EvidenceChunk) error) (o Outcome, err error) {
	size, worst, failed := 0, 0, 0
	var left int64
	for _, h := range hosts {
		size += len(h.text) + len(h.head())
		left += h.Left
		if h.ExitCode == nil {
			failed++
		} else {
			worst = max(worst, *h.ExitCode)
		}
	}
	whole, share := recorder{keep: keep}, 2*plain.Half/len(hosts)
	var b strings.Builder
	for _, h := range hosts {
		whole.add([]byte(h.head()))
		whole.add([]byte(ended(h.text)))
		b.WriteString(h.head())
		text := ended(h.text)
		if size > 2*plain.Half && len(text) > share {
			short := shorter(text, share)
			o.Truncated += int64(len(text) - len(short))
			text = short
		}
		b.WriteString(text)
	}
	whole.close()
	o.Text, o.Kept, o.Truncated = b.String(), whole.kept, o.Truncated+left
	if failed > 0 {
		o.Stopped = fmt.Sprintf("on %d of %d hosts it did not end by itself", failed, len(hosts))
	} else {
		o.ExitCode = &worst
	}
	o.Data, err = json.Marshal(hosts)
	return o, err
}

func (h onHost) head() string {
	state := h.Problem
	if h.ExitCode != nil {
		state = fmt.Sprintf("exit status %d", *h.ExitCode)
	}
	return fmt.Sprintf("[%s: %s]\n", h.Host, state)
}

// ended is text with the end of its last line.
func ended(text string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// shorter is the start and the end of text, about n bytes together, cut at the
// ends of lines where there are some.
func shorter(text string, n int) string {
	head, tail := text[:n/2], text[len(text)-n/2:]
	if i := strings.LastIndexByte(head, '\n'); i >= 0 {
		head = head[:i+1]
	}
	if i := strings.IndexByte(tail, '\n'); i >= 0 && i+1 < len(tail) {
		tail = tail[i+1:]
	}
	for head != "" && !utf8.ValidString(head) {
		head = head[:len(head)-1]
	}
	for tail != "" && !utf8.ValidString(tail) {
		tail = tail[1:]
	}
	return fmt.Sprintf("%s[… %d bytes are left out here …]\n%s", ended(head), len(text)-len(head)-len(tail), tail)
}

// lines joins live output of several hosts: where the host changes, its name
// comes first.
type lines struct {
	mu   sync.Mutex
	to   func(string)
	last string
}

func (l *lines) of(host string) func(string) {
	if l.to == nil {
		return nil
	}
	return func(text string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.last != host {
			l.to("[" + host + "]\n")
			l.last = host
		}
		l.to(text)
	}
}

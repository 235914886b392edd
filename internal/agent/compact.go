package agent

import (
	"cmp"
	"context"
	"strings"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
)

// How a conversation is kept inside the model's window.
const (
	// fullAt and fillTo are parts of the window in percent: at the first it is made
	// shorter, at least to the second if that can be, so that it is seldom done.
	// What was sent before is cheap to send again, until it is changed.
	fullAt, fillTo = 80, 60
	// leastOutput is what is shown of an output at least.
	leastOutput = 2000
	// leastBriefing is what is shown at least of what the model was told first.
	leastBriefing = 8000
	// lastSummary bounds what stands for all turns in the shortest conversation.
	lastSummary = 12_000
	// maxSummary bounds the model's own summary, in bytes.
	maxSummary = 8000
	// bytesPerToken is a cautious guess, until the vendor has counted.
	bytesPerToken = 3
)

// fit makes the conversation shorter if it is about to fill the model's window.
func (r *run) fit(ctx context.Context, req func() llm.Request) error {
	window := r.models.window()
	if window == 0 {
		return nil // nobody knows it: the vendor will say when it is full
	}
	room := int64(window - r.limits.OutputTokens)
	before := r.tokens(req())
	if before*100 < room*fullAt {
		return nil
	}
	was := r.t.shown
	for r.tokens(req())*100 >= room*fillTo {
		next, ok := r.t.less(r.limits.OutputChars)
		if !ok {
			break
		}
		r.t.shown = next
	}
	shorter := r.t.shown
	if r.tokens(req())*100 >= room*fullAt && r.t.shown.Summary == "" && len(r.t.turns) > 1 {
		if s, err := r.summarise(ctx, req()); err == nil {
			shorter = s
		} else if llm.KindOf(err) == "" {
			return err
		}
	}
	r.t.shown = was
	if shorter == was {
		return nil
	}
	return r.shorten(ctx, shorter, before, req)
}

// squeeze makes the conversation shorter for a model that finds it too long. It
// returns false if nothing is left to be left out.
func (r *run) squeeze(ctx context.Context, req func() llm.Request) (bool, error) {
	before := r.tokens(req())
	if next, ok := r.t.less(r.limits.OutputChars); ok {
		return true, r.shorten(ctx, next, before, req)
	}
	if r.t.shown.Summary == "" && len(r.t.turns) > 1 {
		s, err := r.summarise(ctx, req())
		if err == nil {
			return true, r.shorten(ctx, s, before, req)
		}
		if llm.KindOf(err) == "" {
			return false, err
		}
	}
	if r.t.shown.Last || len(r.t.turns) == 0 {
		return false, nil
	}
	// The names of its calls are left, for one attempt to conclude.
	last := r.t.shown
	last.Usage, last.Last, last.Summarised = nil, true, len(r.t.turns)
	last.Summary = cmp.Or(last.Summary, "(There are none: the conversation was too long to be summed up.)")
	if err := r.shorten(ctx, last, before, req); err != nil {
		return false, err
	}
	_, err := r.notice(ctx, "%s The model is told to conclude.", tooLong)
	return true, err
}

// tooLong is why a run concludes whose conversation is as short as it can be.
const tooLong = "The conversation is too long for the model, however short it is made."

// shorten stores what the model is shown from now on.
func (r *run) shorten(ctx context.Context, c ops.Compaction, before int64, req func() llm.Request) error {
	was := r.t.shown
	r.t.shown = c
	c.Before, c.After = before, r.tokens(req())
	r.t.shown = was
	if _, err := r.emit(ctx, ops.EventCompaction, c); err != nil {
		return err
	}
	r.t.shorten(c)
	return nil
}

// less gives the next step of leaving out: first the outputs of all turns but
// the newest, then most of that one's, too, then of what the model was told
// first. False if there is no such step.
func (t *transcript) less(output int) (ops.Compaction, bool) {
	c := t.shown
	c.Usage, c.Before, c.After = nil, 0, 0
	if c.Output == 0 {
		c.Output = output
	}
	if n := len(t.turns) - 1; n > c.Turns && t.shows(c.Turns, n) || c.Turns == 0 && t.shown == (ops.Compaction{}) && t.pastShows() {
		c.Turns = max(n, c.Turns)
		return c, true
	}
	if c.Output > leastOutput && t.shows(c.Turns, len(t.turns)) {
		c.Output = max(c.Output/4, leastOutput)
		return c, true
	}
	if c.Briefing == 0 && len(t.briefing) > 2*leastBriefing {
		c.Briefing = leastBriefing
		return c, true
	}
	return c, false
}

// shows says whether turns behind from up to to have outputs that are worth being left out.
func (t *transcript) shows(from, to int) bool {
	for _, n := range t.turns[from:max(from, to)] {
		for _, r := range n.results {
			if len(r.Text) > 2*maxNamed {
				return true
			}
		}
	}
	return false
}

func (t *transcript) pastShows() bool {
	for _, p := range t.past {
		if p.shows(0, len(p.turns)) {
			return true
		}
	}
	return false
}

// summarise has the model write down what it needs of all turns but the last.
func (r *run) summarise(ctx context.Context, req llm.Request) (ops.Compaction, error) {
	req.Messages = append(req.Messages[:len(req.Messages):len(req.Messages)], llm.Message{Role: llm.User, Text: askSummary})
	lease := r.models.now()
	req.Model, req.Effort = lease.Model, lease.Effort
	reply, err := r.models.open[r.models.at].Stream(ctx, req, func(llm.Delta) {}) // nobody watches: it is stored whole
	if err != nil {
		return ops.Compaction{}, err
	}
	price(lease, &reply.Usage)
	c := r.t.shown
	c.Summary = headTail(ops.Storable(strings.TrimSpace(reply.Text)), maxSummary)
	if c.Summary == "" {
		c.Summary = "(nothing)"
	}
	c.Summarised, c.Usage = len(r.t.turns)-1, &reply.Usage
	return c, nil
}

// tokens is about what a request counts, going by what the vendor counted last.
func (r *run) tokens(req llm.Request) int64 {
	n := requestBytes(req)
	if r.counted.bytes > 0 && r.counted.tokens > 0 {
		return n * r.counted.tokens / r.counted.bytes
	}
	return n / bytesPerToken
}

func requestBytes(req llm.Request) int64 {
	n := len(req.System)
	for _, m := range req.Messages {
		n += len(m.Text) + 16
		for _, c := range m.Calls {
			n += len(c.Name) + len(c.Arguments) + 16
		}
	}
	for _, t := range req.Tools {
		n += len(t.Name) + len(t.Description) + len(t.Schema)
	}
	return int64(n)
}

package gateway

import (
	"context"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/tool"
)

// maxEvidence is how much evidence one run or token may store, compressed.
const maxEvidence = 256 << 20

// keepPatience is how long a chunk of evidence waits for a database that is
// away, and with it the output that it is of.
const keepPatience = 10 * time.Second

// keep stores the chunks of the output of a call that has started. What came
// before the call was stopped is kept too.
func (g *Gateway) keep(ctx context.Context, r request) func(ops.EvidenceChunk) error {
	return func(c ops.EvidenceChunk) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepPatience)
		defer cancel()
		err := g.room(ctx, r, c)
		if err == nil {
			err = g.db.AddEvidence(ctx, r.grant.Holder(), r.id, c)
		}
		if err != nil {
			g.log.Warn("evidence is not kept", "holder", r.grant.Holder(), "call", r.id, "chunk", c.N, "err", err)
		}
		return err
	}
}

// room refuses the first chunk of an output if its holder has stored too much.
func (g *Gateway) room(ctx context.Context, r request, c ops.EvidenceChunk) error {
	if c.N > 0 {
		return nil
	}
	stored, err := g.db.EvidenceStored(ctx, r.grant.Holder())
	if err == nil && stored > maxEvidence {
		err = ops.Errorf(ops.CodeTooLarge, "there are more than %d bytes of evidence of this run or token", maxEvidence)
	}
	return err
}

// past is what the caller's own calls have printed. Nothing else is in reach of it.
func (g *Gateway) past(r request) tool.Past {
	holder := r.grant.Holder()
	return tool.Past{
		Calls: func(ctx context.Context) ([]ops.ToolCall, error) { return g.db.OwnCalls(ctx, holder) },
		Text: func(ctx context.Context, call string) (string, error) {
			c, err := g.db.Call(ctx, holder, call)
			if err != nil {
				return "", err
			}
			if c.Result == nil {
				return "", ops.Errorf(ops.CodeNotFound, "call %s has not ended", call)
			}
			return c.Result.Text, nil
		},
		Chunks: func(ctx context.Context, call string) ([]ops.EvidenceChunk, error) {
			return g.db.Evidence(ctx, holder, call)
		},
		Data: func(ctx context.Context, call string, n int) ([]byte, error) {
			return g.db.EvidenceData(ctx, holder, call, n)
		},
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/akmatori/akmatori/internal/ops"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Check that no record was changed, removed or reordered."`
}

type auditVerifyCmd struct {
	Chain []string `help:"The chains to check." default:"api,gateway,proxy"`
}

// verified is what was found out of one chain.
type verified struct {
	Chain   string `json:"chain"`
	Records int64  `json:"records"`
	// Head is the hash of the last good record: keep it elsewhere, and a chain
	// that was cut at its end shows too.
	Head  string `json:"head,omitempty"`
	Error string `json:"error,omitempty"`
}

// Run reads the chains from their start and checks each record against the one
// before. It fails if one is broken.
func (a *auditVerifyCmd) Run(ctx context.Context, w *world) error {
	c, err := w.client()
	if err != nil {
		return err
	}
	var broken error
	results := []verified{}
	for _, chain := range a.Chain {
		v, err := verify(ctx, c, chain)
		if bad, ok := errors.AsType[*ops.ChainError](err); ok {
			v.Error = bad.Error()
			broken = errors.Join(broken, bad)
		} else if err != nil {
			return err
		}
		results = append(results, v)
		if !w.json && v.Error == "" {
			_, _ = fmt.Fprintf(w.stdout, "%s: %d records, unbroken, head %s\n", inertLine(chain), v.Records, v.Head)
		}
	}
	if w.json {
		if err := w.printJSON(results); err != nil {
			return err
		}
	}
	return broken
}

func verify(ctx context.Context, c *client, chain string) (verified, error) {
	v := verified{Chain: chain, Head: "none"}
	var last *ops.AuditRecord
	for {
		raw, err := c.list(ctx, "audit", url.Values{"chain": {chain}, "after": {strconv.FormatInt(v.Records, 10)}, "limit": {"1000"}}, "after", 1000)
		if err != nil {
			return v, err
		}
		records, err := as[ops.AuditRecord](raw)
		if err != nil || len(records) == 0 {
			return v, err
		}
		for i := range records {
			if records[i].Chain != chain {
				return v, &ops.ChainError{Chain: chain, Seq: v.Records + int64(i) + 1, Reason: "it belongs to another chain"}
			}
		}
		last, err = ops.VerifyChain(last, records)
		if last != nil {
			v.Records, v.Head = last.Seq, fmt.Sprintf("%x", last.Hash)
		}
		if err != nil {
			return v, err
		}
	}
}

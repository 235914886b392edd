package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

const (
	verifyPage  = 1000
	verifyEvery = 30 * time.Second // when there is nothing more
	verifyAnew  = 24 * time.Hour   // from the start: what was good may have been changed since
)

// verifier goes along the chains, all the time and slowly, so that the page can
// say how they are. Who does not trust this process asks `akmatori audit verify`.
type verifier struct {
	db     *postgres.DB
	keys   ops.AuditKeys
	log    *slog.Logger
	broken *prometheus.GaugeVec

	mu     sync.Mutex
	chains map[string]chainState
}

// chainState is how far one chain is verified.
type chainState struct {
	to, unsigned int64
	at           time.Time // when the last pass was through, or was found broken
	bad          *ops.ChainError
}

// auditChain is what the API says of a chain.
type auditChain struct {
	Chain    string    `json:"chain" enum:"api,gateway,proxy"`
	Records  int64     `json:"records" doc:"The number of the newest one."`
	NewestAt time.Time `json:"newest_at,omitzero"`
	Hash     []byte    `json:"hash,omitempty" doc:"Of the newest record: it stands for all before it."`
	State    string    `json:"state" enum:"empty,checking,unbroken,broken"`
	Verified int64     `json:"verified" doc:"The records up to this number were found to be as they were written."`
	Unsigned int64     `json:"unsigned" doc:"So many of the first records are from before records were signed."`
	At       time.Time `json:"verified_at,omitzero" doc:"When this api was last through with it."`
	BadSeq   int64     `json:"broken_at,omitempty" doc:"The first record that is not right."`
	Reason   string    `json:"reason,omitempty"`
	Keys     []string  `json:"keys" doc:"Public keys that its records are signed with, the newest last."`
}

func newVerifier(db *postgres.DB, own ops.AuditKey, public ops.Secret, log *slog.Logger, to prometheus.Registerer) (*verifier, error) {
	keys, err := ops.ParseAuditKeys(public.Reveal())
	if err != nil {
		return nil, err
	}
	for _, chain := range ops.AuditChains {
		if !slices.ContainsFunc(keys, func(k ops.AuditPublicKey) bool { return k.Chain() == chain }) {
			return nil, fmt.Errorf("audit keys: there is none of the chain %s", chain)
		}
	}
	if len(keys.With(own.Public())) > len(keys) {
		return nil, errors.New("audit keys: the one that this process signs with is not among the public ones")
	}
	v := &verifier{db: db, keys: keys, log: log, chains: map[string]chainState{}, broken: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "akmatori_audit_chain_broken", Help: "1 if a chain of the audit is not as it was written."}, []string{"chain"})}
	to.MustRegister(v.broken)
	return v, nil
}

// run verifies until ctx ends.
func (v *verifier) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, chain := range ops.AuditChains {
		v.broken.WithLabelValues(chain).Set(0)
		all.Go(func() {
			for ctx.Err() == nil {
				v.pass(ctx, chain)
			}
		})
	}
	all.Wait()
}

// pass goes along a chain from its start and stays at its end, for a day or until
// it is found broken.
func (v *verifier) pass(ctx context.Context, chain string) {
	walk, began := ops.NewAuditVerifier(chain, v.keys, nil), time.Now()
	for time.Since(began) < verifyAnew {
		start := time.Now()
		more, err := v.page(ctx, chain, walk)
		bad, broken := errors.AsType[*ops.ChainError](err)
		switch {
		case broken:
			v.found(chain, walk, bad)
			rest(ctx, verifyAnew/24)
			return
		case err != nil:
			if ctx.Err() == nil {
				v.log.Warn("the audit could not be verified further", "chain", chain, "err", err)
			}
			rest(ctx, verifyEvery)
		case more: // a quarter of the time: others need the database more
			rest(ctx, 3*time.Since(start))
		default:
			v.found(chain, walk, nil)
			rest(ctx, verifyEvery)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (v *verifier) page(ctx context.Context, chain string, walk *ops.AuditVerifier) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	records, err := v.db.Audit(ctx, chain, walk.Records(), verifyPage)
	if err != nil {
		return false, err
	}
	if err := walk.Next(records...); err != nil {
		return false, err
	}
	if len(records) == verifyPage {
		v.mu.Lock()
		defer v.mu.Unlock()
		if s := v.chains[chain]; s.at.IsZero() || s.to < walk.Records() { // the first time, or it has grown much
			s.to, s.unsigned = walk.Records(), walk.Unsigned()
			v.chains[chain] = s
		}
		return true, nil
	}
	return false, walk.End()
}

func (v *verifier) found(chain string, walk *ops.AuditVerifier, bad *ops.ChainError) {
	v.mu.Lock()
	before := v.chains[chain]
	v.chains[chain] = chainState{walk.Records(), walk.Unsigned(), time.Now().UTC(), bad}
	v.mu.Unlock()
	if bad == nil {
		v.broken.WithLabelValues(chain).Set(0)
		return
	}
	v.broken.WithLabelValues(chain).Set(1)
	if before.bad == nil || *before.bad != *bad {
		v.log.Error("the audit is broken", "chain", chain, "record", bad.Seq, "reason", bad.Reason)
	}
}

// state says how the chains are.
func (v *verifier) state(ctx context.Context) (all []auditChain, err error) {
	for _, chain := range ops.AuditChains {
		c := auditChain{Chain: chain, State: "checking", Keys: []string{}}
		tail, err := v.db.AuditTail(ctx, chain)
		if err != nil && ops.CodeOf(err) != ops.CodeNotFound {
			return nil, err
		}
		c.Records, c.NewestAt, c.Hash = tail.Seq, tail.At, tail.Hash
		v.mu.Lock()
		s := v.chains[chain]
		v.mu.Unlock()
		c.Verified, c.Unsigned, c.At = s.to, s.unsigned, s.at
		switch {
		case s.bad != nil:
			c.State, c.BadSeq, c.Reason = "broken", s.bad.Seq, s.bad.Reason
		case tail.Seq == 0:
			c.State = "empty"
		case !s.at.IsZero():
			c.State = "unbroken"
		}
		for _, k := range v.keys {
			if k.Chain() == chain {
				c.Keys = append(c.Keys, k.String())
			}
		}
		all = append(all, c)
	}
	return all, nil
}

func (v *verifier) keyLines() (lines []string) {
	for _, k := range v.keys {
		lines = append(lines, k.String())
	}
	return lines
}

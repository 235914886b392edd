package dispatch

import (
	"cmp"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

// defaultPatience is how long a model is asked again, where its provider says
// nothing, before the run turns to the next one.
const defaultPatience = time.Minute

// modelLease is how a run reaches a provider: through the proxy, with the run's token.
func (d *Dispatcher) modelLease(p ops.Provider, proxy ops.Secret) wire.ModelLease {
	l := wire.ModelLease{Provider: p.Name, Kind: p.Kind, BaseURL: d.proxyURL + "/llm/" + p.ID, Model: p.Model, Token: proxy.Reveal(), Effort: p.Effort,
		PriceInput: p.PriceInput, PriceOutput: p.PriceOutput, Window: p.Window, FallbackOnAccount: p.FallbackOnAccount}
	if p.Fallback != "" {
		l.Patience = cmp.Or(time.Duration(p.Patience)*time.Second, defaultPatience)
	}
	return l
}

func (d *Dispatcher) modelLeases(providers []ops.Provider, proxy ops.Secret) []wire.ModelLease {
	var out []wire.ModelLease
	for _, p := range providers {
		out = append(out, d.modelLease(p, proxy))
	}
	return out
}

// Package catalogue knows what models cost and how much they can read: a table
// in models.json, made by go generate from the data set of the npm package
// @pydantic/genai-prices (MIT licence), which collects what vendors publish.
//
// It knows the vendors' own endpoints. What a contract or another endpoint says
// it cannot know: a provider's own prices, where an admin has set some, go
// before it, and so does a cost that a vendor reports with an answer. A model
// that it does not know has no price rather than a guessed one.
package catalogue

import (
	_ "embed" // the table
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

//go:generate npm --prefix dump ci --ignore-scripts --no-audit --no-fund --loglevel=error
//go:generate sh -c "node dump/dump.mjs > models.json"

//go:embed models.json
var raw []byte

// Model is what is known of one model. Prices are US dollars for a million tokens.
type Model struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Window is how many tokens a conversation may have, its answer included; 0
	// means unknown.
	Window int   `json:"window,omitempty"`
	Price  Price `json:"price"`
}

// Price is what a million tokens cost, in US dollars.
type Price struct {
	Input      float64 `json:"input"`
	Output     float64 `json:"output"` // reasoning included
	CacheRead  float64 `json:"cache_read"`
	CacheWrite float64 `json:"cache_write"`
}

// Of gives what a turn cost.
func (p Price) Of(u ops.Usage) float64 {
	plain := max(0, u.InputTokens-u.CachedTokens-u.CacheWriteTokens)
	return (p.Input*float64(plain) + p.CacheRead*float64(u.CachedTokens) + p.CacheWrite*float64(u.CacheWriteTokens) +
		p.Output*float64(u.OutputTokens)) / 1e6
}

// Cost gives what a turn cost in US dollars at today's price, by the kind of
// provider that it was had from and the model's name. Tokens that were cached
// are part of the input, those of reasoning part of the output. Some models
// cost more, and then for all tokens, when the input is long.
func Cost(kind, model string, u ops.Usage) (usd float64, known bool) {
	e := find(kind, model)
	if e == nil {
		return 0, false
	}
	p := e.price(time.Now(), u.InputTokens)
	return p.Of(u), true
}

// Charge completes what a turn of the model cost: what the vendor said stands,
// then come the prices of the provider if it has its own, then the list. Nothing
// of that leaves the cost unknown.
func Charge(u *ops.Usage, kind, model string, priceInput, priceOutput *float64) {
	if u.CostUSD != nil {
		return
	}
	if priceInput != nil && priceOutput != nil {
		usd := Price{Input: *priceInput, CacheRead: *priceInput, CacheWrite: *priceInput, Output: *priceOutput}.Of(*u)
		u.CostUSD = &usd
		return
	}
	usd, known := Cost(kind, model, *u)
	if !known {
		usd, known = Cost(kind, u.Model, *u) // the settings may name an alias, the vendor the model
	}
	if known {
		u.CostUSD = &usd
	}
}

// Window gives how many tokens a conversation with a model may have, its
// answer included.
func Window(kind, model string) (tokens int, known bool) {
	if e := find(kind, model); e != nil && e.Window > 0 {
		return e.Window, true
	}
	// An aggregator names models vendor/model: each table may know what the
	// other does not say.
	if vendor, name, ok := strings.Cut(model, "/"); ok && kind == aggregator {
		kind, model = vendor, name
	} else {
		kind, model = aggregator, kind+"/"+model
	}
	if e := find(kind, model); e != nil && e.Window > 0 {
		return e.Window, true
	}
	return 0, false
}

// Models gives all models of a kind of provider that have a window or a price,
// in the order of the table. A kind without a table has none.
func Models(kind string) []Model {
	var out []Model
	for i := range tables()[kind] {
		e := &tables()[kind][i]
		m := Model{ID: e.ID, Name: e.Name, Price: e.price(time.Now(), 0)}
		m.Window, _ = Window(kind, e.ID)
		out = append(out, m)
	}
	return out
}

// Find gives what is known of one model.
func Find(kind, model string) (Model, bool) {
	e := find(kind, model)
	if e == nil {
		return Model{}, false
	}
	m := Model{ID: e.ID, Name: e.Name, Price: e.price(time.Now(), 0)}
	m.Window, _ = Window(kind, model)
	return m, true
}

const aggregator = "openrouter"

// entry is a line of models.json.
type entry struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Window int    `json:"window"`
	// Match is who is meant; nil means who has the ID for a name.
	Match  *rule `json:"match"`
	Prices []struct {
		From string `json:"from"` // a date; the first has none
		rates
		Above *struct {
			Tokens int64 `json:"tokens"`
			rates
		} `json:"above"`
	} `json:"prices"` // the latest comes last
}

// rates are dollars for a million tokens. Cached tokens without a price of their
// own cost what others cost.
type rates struct {
	In     float64  `json:"in"`
	Out    float64  `json:"out"`
	Cached *float64 `json:"cached"`
	Write  *float64 `json:"write"`
}

func (e *entry) price(now time.Time, input int64) Price {
	at := 0
	today := now.UTC().Format(time.DateOnly)
	for i, p := range e.Prices {
		if p.From <= today {
			at = i
		}
	}
	p := e.Prices[at]
	r := p.rates
	if p.Above != nil && input > p.Above.Tokens {
		r = p.Above.rates
	}
	out := Price{Input: r.In, Output: r.Out, CacheRead: r.In, CacheWrite: r.In}
	if r.Cached != nil {
		out.CacheRead = *r.Cached
	}
	if r.Write != nil {
		out.CacheWrite = *r.Write
	}
	return out
}

// rule says which names mean a model. Exactly one field is set.
type rule struct {
	Or         []rule      `json:"or"`
	And        []rule      `json:"and"`
	Not        *rule       `json:"not"`
	Equals     string      `json:"equals"`
	StartsWith string      `json:"starts_with"`
	EndsWith   string      `json:"ends_with"`
	Contains   string      `json:"contains"`
	Regex      *expression `json:"regex"`
}

func (r rule) holds(name string) bool {
	switch {
	case r.Or != nil:
		for _, o := range r.Or {
			if o.holds(name) {
				return true
			}
		}
		return false
	case r.And != nil:
		for _, a := range r.And {
			if !a.holds(name) {
				return false
			}
		}
		return true
	case r.Not != nil:
		return !r.Not.holds(name)
	case r.Equals != "":
		return name == r.Equals
	case r.StartsWith != "":
		return strings.HasPrefix(name, r.StartsWith)
	case r.EndsWith != "":
		return strings.HasSuffix(name, r.EndsWith)
	case r.Contains != "":
		return strings.Contains(name, r.Contains)
	case r.Regex != nil:
		return r.Regex.MatchString(name)
	}
	return false
}

type expression struct{ *regexp.Regexp }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *expression) UnmarshalText(text []byte) (err error) {
	e.Regexp, err = regexp.Compile(string(text))
	return err
}

// find gives the entry of a model: the one of that very name, else the first
// whose rule holds.
func find(kind, model string) *entry {
	model = strings.ToLower(strings.TrimPrefix(model, "models/")) // as Google writes them
	table := tables()[kind]
	for i := range table {
		if table[i].ID == model {
			return &table[i]
		}
	}
	for i := range table {
		if table[i].Match != nil && table[i].Match.holds(model) {
			return &table[i]
		}
	}
	return nil
}

// tables reads models.json once: it is the program's own, and tested.
var tables = sync.OnceValue(func() map[string][]entry {
	var t map[string][]entry
	if err := json.Unmarshal(raw, &t); err != nil {
		panic(fmt.Sprintf("catalogue: models.json: %v", err))
	}
	return t
})

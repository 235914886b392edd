package agent

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
	"github.com/stretchr/testify/require"
)

const concludes = `turns:
  - {reasoning: It may be the disk., text: I look., calls: [{tool: ssh_execute, arguments: {target: h, command: df}}]}
  - {calls: [{tool: submit_findings, arguments: {summary: seen, root_cause: '', confidence: 0, evidence: []}}]}
`

// spare is another vendor, of kind anthropic.
func spare(t *testing.T, scenario, key string) (wire.ModelLease, *fake.Vendor) {
	t.Helper()
	s, err := fake.LoadScenario(strings.NewReader(scenario))
	require.NoError(t, err)
	v := fake.NewVendor(s, fake.Config{Key: ops.NewSecret(key)})
	srv := httptest.NewServer(v)
	t.Cleanup(srv.Close)
	return wire.ModelLease{Provider: "spare", Kind: "anthropic", BaseURL: srv.URL, Model: "claude-sonnet-4-5", Token: proxyToken, Effort: "low"}, v
}

func notices(events []ops.Event) string {
	var all []string
	for _, e := range events {
		if e.Kind == ops.EventNotice {
			all = append(all, string(e.Data))
		}
	}
	return strings.Join(all, "\n")
}

func messages(t *testing.T, events []ops.Event) []ops.Message {
	var all []ops.Message
	for _, e := range events {
		if e.Kind == ops.EventMessage {
			var m ops.Message
			require.NoError(t, json.Unmarshal(e.Data, &m))
			all = append(all, m)
		}
	}
	return all
}

// TestFallback: a run that cannot have its model goes on with another one, in
// the middle of its conversation, and everybody can see it.
func TestFallback(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault string
		lease func(*wire.ModelLease)
		notes string // empty: no fallback
	}{
		"overloaded":              {"{status: 529, times: 99}", nil, "the model is overloaded"},
		"rate limited":            {"{status: 429, times: 99, headers: {Retry-After: '3600'}}", nil, "limits the rate"},
		"broken off":              {"{cut: 0, times: 99}", nil, "broke off"},
		"the key, as is set":      {"{status: 403, times: 99}", func(l *wire.ModelLease) { l.FallbackOnAccount = true }, "refused the key"},
		"the account, as is set":  {"{status: 429, code: insufficient_quota, times: 99}", func(l *wire.ModelLease) { l.FallbackOnAccount = true }, "is used up"},
		"the key, as is not set":  {"{status: 403, times: 99}", nil, ""},
		"the request is refused":  {"{status: 400, times: 99}", nil, ""},
		"a refusal is an answer":  {"{status: 400, code: content_filter, times: 99}", func(l *wire.ModelLease) { l.FallbackOnAccount = true }, ""},
		"overloaded for a moment": {"{status: 529}", nil, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, strings.Replace(concludes, "- {calls: [{tool: submit", "- {faults: ["+tt.fault+"], calls: [{tool: submit", 1))
			fallback, vendor := spare(t, concludes, proxyToken)
			run := w.task(func(task *wire.Task) {
				task.Model.Provider, task.Model.Patience = "main", 100*time.Millisecond
				if tt.lease != nil {
					tt.lease(&task.Model)
				}
				task.Fallback = []wire.ModelLease{fallback}
			})
			w.worker(func(c *Config) { c.backoff = time.Millisecond })
			end := w.end(run)
			events := w.stored(run)
			said := messages(t, events)
			switch tt.notes {
			case "":
				require.Equal(t, ops.RunFailed, end.State, show(events))
				require.Zero(t, vendor.Requests(2))
				require.NotContains(t, notices(events), "goes on with")
			case "-":
				require.Equal(t, ops.RunInconclusive, end.State, show(events))
				require.Zero(t, vendor.Requests(2))
				require.Equal(t, "main", said[1].Usage.Provider)
			default:
				require.Equal(t, ops.RunInconclusive, end.State, show(events))
				require.Contains(t, notices(events), tt.notes)
				require.Contains(t, notices(events), "The run goes on with provider spare (claude-sonnet-4-5).")
				require.Equal(t, 1, vendor.Requests(2))
				require.Zero(t, vendor.Requests(1), "the turn that is stored is not asked again")
				require.Len(t, said, 2)
				require.Equal(t, "main", said[0].Usage.Provider)
				require.Equal(t, "spare", said[1].Usage.Provider)
				require.NotNil(t, said[1].Usage.CostUSD)
				require.Positive(t, *said[1].Usage.CostUSD)
			}
			require.Equal(t, "It may be the disk.", said[0].Reasoning)
			require.Nil(t, said[0].Usage.CostUSD, "nobody knows what that model costs")
		})
	}
}

// TestWaitsForItsModel: a run that may wait gives its place back and is not
// lost; one whose time to wait is over fails.
func TestWaitsForItsModel(t *testing.T) {
	t.Parallel()
	away := "turns: [{text: a, faults: [{status: 503, times: 99}]}]"
	queue := func(until time.Time) (*world, string) {
		w := newWorld(t, away)
		fallback, _ := spare(t, away, proxyToken)
		return w, w.task(func(task *wire.Task) {
			task.Model.Provider, task.Model.Patience = "main", 20*time.Millisecond
			fallback.Patience = 20 * time.Millisecond
			task.Fallback, task.WaitUntil = []wire.ModelLease{fallback}, until
		})
	}
	w, run := queue(time.Now().Add(time.Hour))
	w.worker(func(c *Config) { c.backoff = time.Millisecond })
	e := w.until(run, func(e ops.Event) bool { return e.Kind == ops.EventRunParked })
	var change ops.RunChange
	require.NoError(t, json.Unmarshal(e.Data, &change))
	require.Equal(t, ops.RunQueued, change.State)
	require.Contains(t, notices(w.stored(run)), "Provider spare (claude-sonnet-4-5): the model is overloaded")
	require.Contains(t, notices(w.stored(run)), "The run waits for it until")

	w, run = queue(time.Now().Add(-time.Second))
	w.worker(func(c *Config) { c.backoff = time.Millisecond })
	require.Equal(t, ops.RunFailed, w.end(run).State)
}

// TestVendorsOwnComesBack: what a vendor signed is stored with the turn and
// given back by the worker that goes on.
func TestVendorsOwnComesBack(t *testing.T) {
	t.Parallel()
	t.Run("anthropic", func(t *testing.T) {
		t.Parallel()
		lease, vendor := spare(t, concludes, proxyToken)
		comesBack(t, lease, vendor)
	})
	t.Run("openai", func(t *testing.T) {
		t.Parallel()
		lease, vendor := spare(t, concludes, proxyToken)
		lease.Kind, lease.BaseURL, lease.Model = "openai", lease.BaseURL+"/v1", "gpt-5"
		comesBack(t, lease, vendor)
	})
}

func comesBack(t *testing.T, lease wire.ModelLease, vendor *fake.Vendor) {
	w := newWorld(t, concludes)
	run := w.task(func(task *wire.Task) { task.Model = lease })
	_, stop := w.worker()
	require.Equal(t, ops.RunInconclusive, w.end(run).State)
	stop()
	said := messages(t, w.stored(run))
	require.NotEmpty(t, said[0].Vendor)
	require.Equal(t, 1, vendor.Requests(2))
	var transcript []ops.Event
	for _, e := range w.stored(run) {
		if e.Kind == ops.EventMessage && strings.Contains(string(e.Data), "submit_findings") {
			break
		}
		transcript = append(transcript, e)
	}
	again := w.task(func(task *wire.Task) { task.Model, task.Transcript = lease, transcript })
	w.worker()
	// The vendor refuses a turn with calls whose signed thinking is missing or another.
	require.Equal(t, ops.RunInconclusive, w.end(again).State, show(w.stored(again)))
	require.Equal(t, 2, vendor.Requests(2))
	require.Equal(t, 1, vendor.Requests(1))
}

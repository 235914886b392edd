package llm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// eachKind runs a test with every protocol.
func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	for kind := range llm.Providers() {
		require.Contains(t, kinds, kind)
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, kind)
		})
	}
}

// seen is what the deltas of a turn added up to.
type seen struct {
	text, reasoning string
	retries         int
	void            bool
	waits           []time.Duration
}

func (s *seen) add(d llm.Delta) {
	s.text += d.Text
	s.reasoning += d.Reasoning
	if d.Retry != nil {
		s.retries++
		s.void = s.void || d.Retry.Void
		s.text, s.reasoning = "", ""
		s.waits = append(s.waits, d.Retry.After)
	}
}

// goOn is the conversation with a reply and what its calls gave.
func goOn(req llm.Request, reply llm.Reply, results ...string) llm.Request {
	req.Messages = append(req.Messages[:len(req.Messages):len(req.Messages)],
		llm.Message{Role: llm.Assistant, Text: reply.Text, Calls: reply.Calls, Vendor: reply.Vendor})
	for i, c := range reply.Calls {
		req.Messages = append(req.Messages, llm.Message{Role: llm.ToolRole, CallID: c.ID, Text: results[i]})
	}
	return req
}

// TestConversation: text, reasoning and parallel calls come through streams cut
// anywhere; what the vendor wants back of its own goes back as it came, and the
// vendor checks it.
func TestConversation(t *testing.T) {
	t.Parallel()
	for _, cut := range []string{"chunk: 1", "chunk: 3\nsplit: 1", "chunk: 5\nsplit: 7", "chunk: 1000"} {
		eachKind(t, func(t *testing.T, kind string) {
			m, vendor := openKind(t, kind, cut+`
turns:
  - reasoning: "Was könnte es sein? 日本 {\"a\": 1}"
    text: "I lóok twice."
    calls:
      - {tool: look, arguments: {at: "a {b} \"c\" 日本\n", n: 7}}
      - {tool: look, arguments: {}}
  - reasoning: Once more.
    text: '{{grep "c1" "seen"}}'
    calls: [{tool: look, arguments: {at: z}}]
  - text: Done.
`)
			req := request
			req.Effort = "medium"
			var s seen
			reply, err := m.Stream(t.Context(), req, s.add)
			require.NoError(t, err)
			require.Equal(t, "I lóok twice.", reply.Text)
			require.Equal(t, reply.Text, s.text)
			require.Equal(t, "Was könnte es sein? 日本 {\"a\": 1}", reply.Reasoning)
			require.Equal(t, reply.Reasoning, s.reasoning)
			require.Equal(t, llm.StopCalls, reply.Stop)
			require.Len(t, reply.Calls, 2)
			require.JSONEq(t, `{"at":"a {b} \"c\" 日本\n","n":7}`, reply.Calls[0].Arguments)
			require.Equal(t, "{}", reply.Calls[1].Arguments)
			require.NotEqual(t, reply.Calls[0].ID, reply.Calls[1].ID)
			require.Positive(t, reply.Usage.InputTokens)
			require.Positive(t, reply.Usage.OutputTokens)
			require.Positive(t, reply.Usage.ReasoningTokens)
			require.Less(t, reply.Usage.ReasoningTokens, reply.Usage.OutputTokens)
			require.Zero(t, reply.Usage.CachedTokens)
			require.Equal(t, "m", reply.Usage.Model)
			if kind == "openrouter" {
				require.NotNil(t, reply.Usage.CostUSD)
			}

			next := goOn(req, reply, "[c1]\nI have seen it", "[c2]\nnothing")
			second, err := m.Stream(t.Context(), next, func(llm.Delta) {})
			require.NoError(t, err)
			require.Equal(t, "I have seen it", second.Text)
			require.Positive(t, second.Usage.CachedTokens, "the first turn's prompt is in the cache")
			require.Less(t, second.Usage.CachedTokens, second.Usage.InputTokens)

			third, err := m.Stream(t.Context(), goOn(next, second, "[c3]\nz"), func(llm.Delta) {})
			require.NoError(t, err)
			require.Equal(t, "Done.", third.Text)
			require.Equal(t, llm.StopEnd, third.Stop)
			require.Greater(t, third.Usage.CachedTokens, second.Usage.CachedTokens)
			require.Equal(t, 1, vendor.Requests(3))
		})
	}
}

// TestAnotherModelGoesOn: a conversation that one vendor's model has begun is
// taken over by each other's, without what is the first one's own.
func TestAnotherModelGoesOn(t *testing.T) {
	t.Parallel()
	for first := range kinds {
		for second := range kinds {
			for _, effort := range []string{"", "high"} {
				t.Run(first+" to "+second+" "+effort, func(t *testing.T) {
					t.Parallel()
					scenario := "turns:\n  - {reasoning: hm, text: look, calls: [{tool: look}, {tool: look, arguments: {a: 1}}]}\n" +
						"  - {reasoning: hm, calls: [{tool: look}]}\n  - {text: end}\n"
					a, _ := openKind(t, first, scenario)
					b, _ := openKind(t, second, scenario)
					req := request
					req.Effort = effort
					req.Model = "claude-sonnet-4-5" // one that is strict about thinking
					reply, err := a.Stream(t.Context(), req, func(llm.Delta) {})
					require.NoError(t, err)
					req = goOn(req, reply, "[c1]\none", "")
					req.Model = "claude-haiku-4-5"
					for range 2 {
						reply, err = b.Stream(t.Context(), req, func(llm.Delta) {})
						require.NoError(t, err)
						req = goOn(req, reply, "more")
					}
					require.Equal(t, "end", reply.Text)
				})
			}
		}
	}
}

func TestEffort(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"claude-3-7-sonnet-latest", "claude-opus-4-5", "claude-sonnet-5", "gemini-2.5-pro", "gemini-3-pro-preview", "gpt-5"} {
		eachKind(t, func(t *testing.T, kind string) {
			for _, effort := range []string{"low", "medium", "high"} {
				m, _ := openKind(t, kind, "turns: [{text: a}]")
				_, err := m.Stream(t.Context(), llm.Request{Model: model, Effort: effort, Messages: request.Messages}, func(llm.Delta) {})
				require.NoError(t, err)
			}
		})
	}
}

// TestWithoutTools: a conversation with calls in it is asked for a summary.
func TestWithoutTools(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		m, _ := openKind(t, kind, "turns: [{calls: [{tool: look}]}, {text: a summary}]")
		reply, err := m.Stream(t.Context(), request, func(llm.Delta) {})
		require.NoError(t, err)
		req := goOn(request, reply, "nothing")
		req.Tools = nil
		req.Messages = append(req.Messages, llm.Message{Role: llm.User, Text: "Sum up."})
		reply, err = m.Stream(t.Context(), req, func(llm.Delta) {})
		require.NoError(t, err)
		require.Equal(t, "a summary", reply.Text)
	})
}

// TestFailures is every way in which a turn may fail, over every protocol.
func TestFailures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		turn     string
		kind     llm.Kind // empty: it succeeds in the end
		requests int
		void     bool
	}{
		"rate limited, then fine": {turn: `faults: [{status: 429, times: 2, headers: {Retry-After: "0.01"}}]`, requests: 3},
		"500s, then fine":         {turn: `faults: [{status: 500, times: 3}]`, requests: 4},
		"500s for ever":           {turn: `faults: [{status: 500, times: 9}]`, kind: llm.Unavailable, requests: 4},
		"overloaded for ever":     {turn: `faults: [{status: 503, times: 9}]`, kind: llm.Overloaded, requests: 4},
		"overloaded, by 529":      {turn: `faults: [{status: 529, times: 9}]`, kind: llm.Overloaded, requests: 4},
		"rate limited for ever":   {turn: `faults: [{status: 429, times: 9}]`, kind: llm.RateLimited, requests: 4},
		"cut at once":             {turn: `faults: [{cut: 0}]`, requests: 2},
		"cut in the text":         {turn: `faults: [{cut: 2}]`, requests: 2, void: true},
		"cut in the call":         {turn: `faults: [{cut: 4}]`, requests: 2, void: true},
		"cut for ever":            {turn: `faults: [{cut: 2, times: 9}]`, kind: llm.Interrupted, requests: 4, void: true},
		"overloaded inside":       {turn: `faults: [{status: 529, after: 2}]`, requests: 2, void: true},
		"fails inside for ever":   {turn: `faults: [{status: 503, after: 1, times: 9}]`, kind: "not Invalid", requests: 4, void: true},
		"garbage, then fine":      {turn: `faults: [{garbage: 2}]`, requests: 2, void: true},
		"garbage for ever":        {turn: `faults: [{garbage: 2, times: 9}]`, kind: llm.Malformed, requests: 3, void: true},
		"hangs, then fine":        {turn: `faults: [{hang: 2}]`, requests: 2, void: true},
		"no such model":           {turn: `faults: [{status: 404, times: 9}]`, kind: llm.Invalid, requests: 1},
		"too long":                {turn: `faults: [{status: 400, times: 9, code: context_length_exceeded}]`, kind: llm.TooLong, requests: 1},
		"too large":               {turn: `faults: [{status: 413, times: 9}]`, kind: llm.TooLong, requests: 1},
		"used up":                 {turn: `faults: [{status: 429, times: 9, code: insufficient_quota}]`, kind: llm.Quota, requests: 1},
		"to be paid":              {turn: `faults: [{status: 402, times: 9}]`, kind: llm.Quota, requests: 1},
		"filtered":                {turn: `finish: content_filter`, kind: llm.Refused, requests: 1},
		"refused":                 {turn: `refusal: I will not`, kind: llm.Refused, requests: 1},
		"forbidden":               {turn: `faults: [{status: 403, times: 9}]`, kind: llm.Auth, requests: 1},
		"cut off by the limit":    {turn: `finish: length`, requests: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, kind string) {
				turn := "text: some words\n    calls: [{tool: look, arguments: {a: 1, b: 2}}]"
				if strings.HasPrefix(tt.turn, "refusal") {
					turn = "text: ''"
				}
				m, vendor := openKind(t, kind, "chunk: 4\nturns:\n  - "+turn+"\n    "+tt.turn+"\n")
				var s seen
				reply, err := m.Stream(t.Context(), request, s.add)
				if tt.kind == "not Invalid" { // each has its own word
					require.Contains(t, []llm.Kind{llm.Overloaded, llm.Interrupted, llm.Unavailable}, llm.KindOf(err), "%v", err)
				} else {
					require.Equal(t, tt.kind, llm.KindOf(err), "%v", err)
				}
				require.Equal(t, tt.requests, vendor.Requests(1), "%v", err)
				require.Equal(t, tt.requests-1, s.retries)
				require.Equal(t, tt.void, s.void)
				if err == nil {
					require.Equal(t, "some words", reply.Text)
					require.Equal(t, "some words", s.text)
					require.Len(t, reply.Calls, 1)
					require.Equal(t, tt.turn == "finish: length", reply.Stop == llm.StopLength)
					return
				}
				require.NotContains(t, err.Error(), key)
				e, ok := errors.AsType[*llm.Error](err)
				require.True(t, ok)
				require.Equal(t, tt.requests, e.Attempts)
			})
		})
	}
}

func TestTheVendorSaysHowLongToWait(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		m, _ := openKind(t, kind, `turns: [{text: a, faults: [{status: 429, headers: {Retry-After: "0.05"}}]}]`)
		var s seen
		_, err := m.Stream(t.Context(), request, s.add)
		require.NoError(t, err)
		require.Equal(t, []time.Duration{50 * time.Millisecond}, s.waits)

		m, vendor := openKind(t, kind, `turns: [{text: a, faults: [{status: 429, headers: {Retry-After: "3600"}, times: 9}]}]`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = m.Stream(ctx, request, func(llm.Delta) {})
		require.Equal(t, llm.RateLimited, llm.KindOf(err))
		require.Equal(t, 1, vendor.Requests(1), "nothing is asked that cannot be had in time")
		e, _ := errors.AsType[*llm.Error](err)
		require.Equal(t, time.Hour, e.RetryAfter)
	})
}

func TestMalformedArguments(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		m, vendor := openKind(t, kind, `turns: [{calls: [{tool: look, raw: '{"at": '}]}]`)
		reply, err := m.Stream(t.Context(), request, func(llm.Delta) {})
		if kind == "google" { // which does not hand them out
			require.Equal(t, llm.Malformed, llm.KindOf(err))
			require.Equal(t, 3, vendor.Requests(1))
			return
		}
		require.NoError(t, err)
		require.Equal(t, `{"at": `, reply.Calls[0].Arguments)
		require.Equal(t, llm.StopCalls, reply.Stop)
	})
}

func TestEmptyAnswer(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		m, _ := openKind(t, kind, `turns: [{text: ""}]`)
		reply, err := m.Stream(t.Context(), request, func(d llm.Delta) { require.Empty(t, d.Text) })
		require.NoError(t, err)
		require.Empty(t, reply.Text)
		require.Empty(t, reply.Calls)
		require.Equal(t, llm.StopEnd, reply.Stop)
	})
}

func TestWrongKeyIsNotRepeatedNorShown(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, kind string) {
		s, err := fake.LoadScenario(strings.NewReader("turns: [{text: a}]"))
		require.NoError(t, err)
		vendor := fake.NewVendor(s, fake.Config{Key: ops.NewSecret("sk-right")})
		m := openAt(t, kind, vendor, key)
		_, err = m.Stream(t.Context(), request, func(llm.Delta) { t.Error("no delta expected") })
		require.Equal(t, llm.Auth, llm.KindOf(err))
		require.NotContains(t, fmt.Sprintf("%v %+v", err, err), key)
		require.Equal(t, 1, vendor.Refused())
	})
}

func TestPatience(t *testing.T) {
	t.Parallel()
	s, err := fake.LoadScenario(strings.NewReader(`turns: [{text: a, faults: [{status: 529, times: 10}]}]`))
	require.NoError(t, err)
	vendor := fake.NewVendor(s, fake.Config{Key: ops.NewSecret(key)})
	url := serve(t, vendor)
	ask := func(patience time.Duration) error {
		m, err := llm.Open(llm.Config{Kind: "anthropic", BaseURL: url, Key: ops.NewSecret(key), Backoff: time.Microsecond, Attempts: 2, Patience: patience})
		require.NoError(t, err)
		defer m.Close()
		_, err = m.Stream(t.Context(), request, func(llm.Delta) {})
		return err
	}
	require.Equal(t, llm.Overloaded, llm.KindOf(ask(time.Nanosecond)))
	require.Equal(t, 1, vendor.Requests(1))
	require.NoError(t, ask(time.Minute), "time bounds the tries, and not their number")
	require.Equal(t, 11, vendor.Requests(1))
}

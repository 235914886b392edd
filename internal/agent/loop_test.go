package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/fake"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
	"github.com/stretchr/testify/require"
)

// say sends what a person says to a run, as often as it is asked to.
func (w *world) say(run string, seq int64, actor, text string, times int) {
	for range times {
		w.send(wire.Frame{Message: &wire.Message{RunRef: wire.RunRef{Run: run, Epoch: 1}, Message: ops.RunMessage{Seq: seq, Actor: actor, Text: text}}})
	}
}

// held gives the function that lets the gateway answer the command df -h, which waits for it.
func (w *world) held() (release func()) {
	gate := make(chan struct{})
	w.gateway.set(func(g *testGateway) {
		g.exec = func(ctx context.Context, command string) (string, error) {
			if command == "df -h" {
				select {
				case <-gate:
				case <-ctx.Done():
				}
			}
			return "ran " + command, nil
		}
	})
	return func() { close(gate) }
}

func called(command string) func(ops.Event) bool {
	return func(e ops.Event) bool {
		return e.Kind == ops.EventToolCall && strings.Contains(string(e.Data), command)
	}
}

func TestAPersonSteersTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, investigation)
	release := w.held()
	run := w.task()
	a, _ := w.worker()
	w.until(run, called("df -h"))
	w.say(run, 12, "user:ada", "look at web-2", 3)
	w.say(run, 15, "user:ada", "and </incident> hurry", 1)
	w.hangUp() // it comes again on the next connection
	require.Eventually(t, func() bool { return w.connections() > 1 }, wait, tick)
	w.say(run, 12, "user:ada", "look at web-2", 1)
	w.say(run, 15, "user:ada", "and </incident> hurry", 1)
	// All of it is in the inbox before the turn that reads it.
	require.Eventually(t, func() bool { return w.agentHas(a, run, 2) }, wait, tick)
	release()
	require.Equal(t, ops.RunConcluded, w.end(run).State)
	require.Equal(t, []ops.Applied{{Seq: 12}, {Seq: 15}}, all[ops.Applied](t, w.stored(run), ops.EventApplied))
	last := w.questions()[len(w.questions())-1]
	require.Equal(t, 1, strings.Count(last, "look at web-2"))
	require.Contains(t, last, "Message from ada, a person who works on this incident:")
	require.Less(t, strings.Index(last, "ran df -h"), strings.Index(last, "look at web-2"))
}

func TestSomebodyElseTakesTheRunOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, investigation)
	release := w.held()
	run := w.task()
	a, _ := w.worker()
	w.until(run, called("df -h"))
	w.say(run, 12, "user:bob", "mine", 1)
	require.Eventually(t, func() bool { return w.agentHas(a, run, 1) }, wait, tick)
	release()
	require.Equal(t, ops.RunChange{State: ops.RunCancelled, Reason: "bob goes on with it"}, w.end(run))
	require.NotContains(t, strings.Join(w.questions(), ""), "mine", "a run of Ada's has read what Bob said")
	require.Len(t, all[ops.ToolResult](t, w.stored(run), ops.EventToolResult), 3, "what was called is finished")
}

// Findings of a turn that had not read what was said are not the end.
func TestFindingsWaitForWhatWasSaid(t *testing.T) {
	t.Parallel()
	finish := strings.ReplaceAll(submit, "I conclude.", "I conclude anyway.")
	w := newWorld(t, "delay: 20ms\nchunk: 4\n"+strings.TrimPrefix(investigation, "\nchunk: 5\n")+finish)
	run := w.task()
	w.worker()
	w.until(run, func(e ops.Event) bool { // the model writes its findings
		return e.Kind == ops.EventTextDelta && data[ops.TextDelta](t, e).Turn == 3
	})
	w.say(run, 9, "user:ada", "wait", 1)
	require.Equal(t, ops.RunConcluded, w.end(run).State)
	events := w.stored(run)
	require.Contains(t, show(events), notYet)
	require.Len(t, all[ops.Message](t, events, ops.EventMessage), 4)
	require.Len(t, all[ops.Finding](t, events, ops.EventFindings), 1)
}

// A worker dies; what it was told stands where it stood, and what it was not told is told now.
func TestAnotherWorkerReadsTheSameConversation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, investigation)
	said := []ops.RunMessage{{Seq: 3, Actor: "user:ada", Text: "first words"}, {Seq: 6, Actor: "user:ada", Text: "second words"}}
	first := w.task(func(task *wire.Task) { task.Messages = said })
	w.worker()
	w.end(first)
	whole := w.questions()
	events := w.stored(first)
	for _, e := range events {
		if e.Kind == ops.EventApplied {
			require.Less(t, slices.IndexFunc(events, kind(ops.EventBriefing)), slices.IndexFunc(events, kind(ops.EventApplied)))
		}
	}
	// Cut behind each event, another worker asks what the first one asked.
	for n := range events {
		if events[n].Kind == ops.EventRunEnded || events[n].Kind == ops.EventFindings {
			continue
		}
		var transcript []ops.Event
		for _, e := range events[:n+1] {
			if slices.Contains(ops.TranscriptKinds, e.Kind) {
				transcript = append(transcript, e)
			}
		}
		before := len(w.questions())
		run := w.task(func(task *wire.Task) {
			task.Messages, task.Transcript = said, transcript
			task.Incident.Title = "changed meanwhile"
		})
		w.end(run)
		asked := w.questions()[before:]
		turns := len(all[ops.Message](t, transcript, ops.EventMessage))
		if slices.ContainsFunc(transcript, kind(ops.EventBriefing)) && len(asked) > 0 {
			require.Equal(t, messagesOf(t, whole[turns]), messagesOf(t, asked[0]), "behind event %d", n+1)
		}
	}
}

// A question behind the end of a run is answered with what was found, and the
// model is not paid for that again.
func TestAQuestionBehindTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, investigation+"  - text: Because df says so.\n")
	first := w.task()
	w.worker()
	w.end(first)
	paid := len(w.questions())
	var transcript []ops.Event
	for _, e := range w.stored(first) {
		if slices.Contains(ops.TranscriptKinds, e.Kind) {
			transcript = append(transcript, e)
		}
	}
	run := w.task(func(task *wire.Task) {
		task.History = []wire.PastRun{{Run: first, Transcript: transcript}}
		task.Messages = []ops.RunMessage{{Seq: 99, Actor: "user:ada", Text: "why the disk?"}}
	})
	require.Equal(t, ops.RunChange{State: ops.RunConcluded, Reason: answered}, w.end(run))
	require.Len(t, w.questions(), paid+1)
	asked := w.questions()[paid]
	for _, want := range []string{"[earlier c2]\\nran df -h", "That investigation ended here, with these findings, which are no evidence", newTurn[:40], "why the disk?"} {
		require.Contains(t, asked, want)
	}
	require.Less(t, strings.Index(asked, "[earlier c2]"), strings.Index(asked, "why the disk?"))
	require.Len(t, all[ops.Message](t, w.stored(run), ops.EventMessage), 1)
}

func TestEarlierCallsAreNoEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, investigation+strings.Repeat(strings.ReplaceAll(submit, `'{{grep "c2" "ran"}}'`, "ran df -h"), 2))
	first := w.task()
	w.worker()
	w.end(first)
	run := w.task(func(task *wire.Task) {
		task.History = []wire.PastRun{{Run: first, Transcript: w.stored(first)}}
		task.Messages = []ops.RunMessage{{Seq: 99, Actor: "user:ada", Text: "sure?"}}
	})
	require.Equal(t, ops.RunInconclusive, w.end(run).State)
	require.Contains(t, show(w.stored(run)), `which is no finished call of this run`)
}

// What is remembered is told as a hypothesis; findings that cite it stand on nothing.
func TestMemoriesAreNoEvidence(t *testing.T) {
	t.Parallel()
	memory := ops.RecalledMemory{ID: ops.NewID(), Service: "shop", Pattern: "the disk of a web host is full", Cause: "old logs fill it", Fix: "rotate", Incident: 3, ConfirmedBy: "user:ada"}
	cite := "  - calls: [{tool: submit_findings, arguments: {summary: s, root_cause: old logs fill it, confidence: 1, evidence: [{call: " + memory.ID + ", excerpt: old logs fill it}, {call: memory}]}}]\n"
	w := newWorld(t, "turns:\n  - calls: [{tool: ssh_hosts}]\n"+cite+cite)
	run := w.task(func(task *wire.Task) { task.Context = &ops.Context{Memories: []ops.RecalledMemory{memory}} })
	w.worker()
	end := w.end(run)
	require.Equal(t, ops.RunInconclusive, end.State)
	require.Contains(t, end.Reason, "no root cause is backed by evidence")
	asked := w.questions()[0]
	for _, want := range []string{"old logs fill it", "hypotheses to be checked anew, and never evidence"} {
		require.Contains(t, asked, want)
	}
	results := all[ops.ToolResult](t, w.stored(run), ops.EventToolResult)
	require.Contains(t, results[1].Text, "which is no finished call of this run")
}

func TestBounds(t *testing.T) {
	t.Parallel()
	turn := "  - {text: more, calls: [{tool: ssh_execute, arguments: {target: h, command: 'c%d'}}]}\n"
	scenario := "turns:\n"
	for n := range 8 {
		scenario += fmt.Sprintf(turn, n)
	}
	scenario += "conclude: {text: that is all}\n"
	for name, tt := range map[string]struct {
		change func(*wire.Task)
		reason string
		most   int // turns
	}{
		"tokens": {func(task *wire.Task) { task.Agent.Limits.Tokens = 6000 }, "limit of 6000 tokens", 5},
		"money": {func(task *wire.Task) {
			one := 1.0 // dollar for a million
			task.Model.PriceInput, task.Model.PriceOutput, task.Agent.Limits.USD = &one, &one, 0.005
		}, "limit of 0.005 USD", 5},
		"the budget of the day": {func(task *wire.Task) { task.Conclude = "today's budget of 10 USD is used up" }, "Today's budget of 10 USD is used up", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, scenario)
			run := w.task(tt.change)
			w.worker()
			end := w.end(run)
			require.Equal(t, ops.RunInconclusive, end.State, "%s", show(w.stored(run)))
			require.Contains(t, end.Reason, tt.reason)
			var spent int64
			var usd float64
			messages := all[ops.Message](t, w.stored(run), ops.EventMessage)
			for _, m := range messages {
				spent += m.Usage.InputTokens + m.Usage.OutputTokens
				if m.Usage.CostUSD != nil {
					usd += *m.Usage.CostUSD
				}
			}
			require.LessOrEqual(t, len(messages), tt.most)
			switch name {
			case "tokens":
				require.LessOrEqual(t, spent, int64(6000))
				require.Greater(t, len(messages), 1)
			case "money":
				require.LessOrEqual(t, usd, 0.005)
				require.Greater(t, len(messages), 1)
			}
			require.Contains(t, show(w.stored(run)), `"summary":"that is all"`)
		})
	}
	t.Run("the budget ends while it runs", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, strings.Replace(investigation, "chunk: 5", "chunk: 5\nconclude: {text: that is all}", 1))
		release := w.held()
		run := w.task()
		a, _ := w.worker()
		w.until(run, called("df -h"))
		w.send(wire.Frame{Conclude: &wire.Conclude{RunRef: wire.RunRef{Run: run, Epoch: 1}, Reason: "the budget is used up"}})
		require.Eventually(t, func() bool { return a.find(wire.RunRef{Run: run, Epoch: 1}).inbox.concluding() != "" }, wait, tick)
		release()
		require.Contains(t, w.end(run).Reason, "The budget is used up.")
	})
}

const bigOutput = 60_000

// outputs makes every command print much.
func (w *world) outputs() {
	w.gateway.set(func(g *testGateway) {
		g.exec = func(_ context.Context, command string) (string, error) {
			return "out of " + command + "\n" + strings.Repeat("x", bigOutput) + "\nend of " + command, nil
		}
	})
}

const fourLooks = `
turns:
  - {text: I think that it is the disk., calls: [{tool: ssh_execute, arguments: {target: h, command: one}}]}
  - {text: or the memory, calls: [{tool: ssh_execute, arguments: {target: h, command: two}}]}
  - {text: or the net, calls: [{tool: ssh_execute, arguments: {target: h, command: three}}]}
  - calls:
      - tool: submit_findings
        arguments: {summary: s, root_cause: r, confidence: 1, evidence: [{call: c1, excerpt: out of one}]}
`

func TestCompaction(t *testing.T) {
	t.Parallel()
	t.Run("before the window is full", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fourLooks)
		w.outputs()
		run := w.task(func(task *wire.Task) { task.Model.Window, task.Agent.Limits.OutputTokens = 24_000, 1000 })
		w.worker()
		require.Equal(t, ops.RunConcluded, w.end(run).State)
		compactions := all[ops.Compaction](t, w.stored(run), ops.EventCompaction)
		require.NotEmpty(t, compactions)
		for _, c := range compactions {
			require.Less(t, c.After, c.Before)
			require.Empty(t, c.Summary)
		}
		asked := w.questions()
		last := asked[len(asked)-1]
		// Names, ids and hypotheses stay, and what was said last is there.
		for _, want := range []string{"[c1: ssh_execute one on h, done, 3 lines, not shown any more", "I think that it is the disk.", "end of three"} {
			require.Contains(t, last, want)
		}
		require.NotContains(t, last, "end of one")
		for _, q := range asked {
			require.Less(t, len(q)/4, 23_000, "the model's window was overrun")
		}

		// The next worker shows the model the same.
		before := len(asked)
		again := w.task(func(task *wire.Task) {
			task.Model.Window, task.Agent.Limits.OutputTokens = 24_000, 1000
			for _, e := range w.stored(run) {
				if slices.Contains(ops.TranscriptKinds, e.Kind) && e.Kind != ops.EventFindings && !strings.Contains(string(e.Data), "submit_findings") {
					task.Transcript = append(task.Transcript, e)
				}
			}
		})
		w.end(again)
		require.Equal(t, messagesOf(t, last), messagesOf(t, w.questions()[before]))
	})
	t.Run("when the vendor says so", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, strings.Replace(fourLooks, "  - calls:\n      - tool: submit", "  - faults: [{status: 400, code: context_length_exceeded, times: 3}]\n    calls:\n      - tool: submit", 1))
		w.outputs()
		run := w.task()
		w.worker()
		require.Equal(t, ops.RunConcluded, w.end(run).State)
		compactions := all[ops.Compaction](t, w.stored(run), ops.EventCompaction)
		require.Len(t, compactions, 3)
		require.Equal(t, []int{2, 2, 2}, []int{compactions[0].Turns, compactions[1].Turns, compactions[2].Turns})
		require.Greater(t, compactions[1].Output, compactions[2].Output)
	})
	t.Run("with a summary, once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, strings.Replace(fourLooks, "  - calls:\n      - tool: submit", "  - faults: [{status: 400, code: context_length_exceeded, times: 99}]\n    calls:\n      - tool: submit", 1))
		w.outputs()
		notes, err := fake.LoadScenario(strings.NewReader("turns: [{text: 'It is the disk (c1).', repeat: true}]"))
		require.NoError(t, err)
		w.instead, w.insteadIf = fake.NewVendor(notes, fake.Config{Key: ops.NewSecret(proxyToken)}), "This conversation is about to become too long"
		said := ops.RunMessage{Seq: 3, Actor: "user:ada", Text: "letter by letter"}
		run := w.task(func(task *wire.Task) { task.Messages = []ops.RunMessage{said} })
		w.worker()
		end := w.end(run)
		require.Equal(t, ops.RunInconclusive, end.State)
		require.Contains(t, end.Reason, "too long")
		var summaries []ops.Compaction
		for _, c := range all[ops.Compaction](t, w.stored(run), ops.EventCompaction) {
			if c.Summary != "" && c.Usage != nil {
				summaries = append(summaries, c)
			}
		}
		require.Len(t, summaries, 1)
		require.Equal(t, 2, summaries[0].Summarised)
		asked := w.questions()
		last := asked[1+slices.IndexFunc(asked, func(q string) bool { return strings.Contains(q, w.insteadIf) })]
		for _, want := range []string{"It is the disk (c1).", "[c1: ssh_execute one on h", "[c2: ssh_execute two on h", "letter by letter", "or the net"} {
			require.Contains(t, last, want)
		}
		require.NotContains(t, last, "or the memory")
	})
}

// short has the vendor refuse requests above limit bytes as too long for its model.
func (w *world) short(limit int) {
	w.instead, w.insteadIf = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) > limit {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(rw, `{"error":{"code":"context_length_exceeded","type":"invalid_request_error","message":"This model's maximum context length is 9000 tokens."}}`)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.vendor.ServeHTTP(rw, r)
	}), "Akmatori's investigator"
}

// A conversation that nothing makes short enough has one attempt to conclude,
// with the names of its calls.
func TestTooLongHoweverShort(t *testing.T) {
	t.Parallel()
	words := strings.Repeat("I think and think. ", 150)
	scenario := "conclude:\n  calls: [{tool: submit_findings, arguments: {summary: s, root_cause: r, confidence: 1, evidence: [{call: c1, excerpt: out of one}]}}]\n" +
		strings.NewReplacer("I think that it is the disk.", words, "or the memory", words, "or the net", words).Replace(fourLooks)
	for name, tt := range map[string]struct {
		limit       int
		description string
		state       ops.RunState
		reason      string
		last        bool
	}{
		"it concludes":                           {limit: 13_500, state: ops.RunConcluded, last: true},
		"not even that":                          {limit: 3_000, state: ops.RunFailed, reason: "the conversation is too long for the model"},
		"the incident alone is long, and is cut": {limit: 45_000, description: strings.Repeat("long ", 20_000), state: ops.RunConcluded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, scenario)
			w.outputs()
			w.short(tt.limit)
			run := w.task(func(task *wire.Task) {
				for range 14 {
					if tt.description != "" {
						task.Alerts = append(task.Alerts, ops.Alert{Title: "more", Description: tt.description})
					}
				}
			})
			w.worker()
			end := w.end(run)
			require.Equal(t, tt.state, end.State, "%s", show(w.stored(run)))
			require.Contains(t, end.Reason, tt.reason)
			compactions := all[ops.Compaction](t, w.stored(run), ops.EventCompaction)
			if !tt.last {
				require.False(t, slices.ContainsFunc(compactions, func(c ops.Compaction) bool { return c.Last }))
				return
			}
			require.True(t, compactions[len(compactions)-1].Last)
			require.Equal(t, 1, strings.Count(notices(w.stored(run)), "The model is told to conclude."))
			asked := w.questions()
			last := asked[len(asked)-1]
			require.Contains(t, last, "[c1: ssh_execute one on h")
			require.NotContains(t, last, "I think and think")
			require.NotContains(t, last, `"name":"ssh_execute","description"`, "one attempt, and no other tool")

			// Another worker asks the same, once.
			before := len(asked)
			again := w.task(func(task *wire.Task) {
				for _, e := range w.stored(run) {
					if slices.Contains(ops.TranscriptKinds, e.Kind) && e.Kind != ops.EventFindings && !strings.Contains(string(e.Data), "submit_findings") {
						task.Transcript = append(task.Transcript, e)
					}
				}
			})
			require.Equal(t, ops.RunConcluded, w.end(again).State)
			require.Len(t, w.questions(), before+1)
			require.Equal(t, messagesOf(t, last), messagesOf(t, w.questions()[before]))
		})
	}
}

// A fallback whose window is smaller is asked with what fits it.
func TestFallbackWithASmallerWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(fourLooks, "  - calls:\n      - tool: submit", "  - faults: [{status: 503, times: 99}]\n    calls:\n      - tool: submit", 1))
	w.outputs()
	s, err := fake.LoadScenario(strings.NewReader(fourLooks))
	require.NoError(t, err)
	vendor := fake.NewVendor(s, fake.Config{Key: ops.NewSecret(proxyToken)})
	var longest atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		longest.Store(max(longest.Load(), r.ContentLength))
		vendor.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	run := w.task(func(task *wire.Task) {
		task.Model.Provider, task.Model.Patience, task.Agent.Limits.OutputTokens = "main", 20*time.Millisecond, 1000
		task.Fallback = []wire.ModelLease{{Provider: "small", Kind: "openai-compatible", BaseURL: srv.URL + "/v1", Model: "s", Token: proxyToken, Window: 16_000}}
	})
	w.worker(func(c *Config) { c.backoff = time.Millisecond })
	require.Equal(t, ops.RunConcluded, w.end(run).State, "%s", show(w.stored(run)))
	require.NotEmpty(t, all[ops.Compaction](t, w.stored(run), ops.EventCompaction))
	asked := w.questions()
	require.Greater(t, len(asked[len(asked)-1]), 60_000, "the first model was asked with all of it")
	require.Less(t, longest.Load(), int64(60_000))
	require.Positive(t, longest.Load())
}

// What a model does wrong ends bounded, and is explained.
func TestModelsThatMisbehave(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		scenario string
		state    ops.RunState
		contains []string
	}{
		"a turn that is cut off": {
			scenario: "turns: [{text: and so on and, finish: length, repeat: true}]",
			state:    ops.RunInconclusive, contains: []string{`"cut":true`, "nothing new in 3 turns"},
		},
		"it refuses": {
			scenario: "turns: [{text: '', finish: content_filter, repeat: true}]",
			state:    ops.RunFailed, contains: []string{"refused to answer"},
		},
		"arguments of the wrong type": {
			scenario: "turns: [{calls: [{tool: ssh_execute, raw: '[1,2]'}, {tool: ssh_execute, raw: '{\"target\":{\"target\":1},\"target\":2}'}], repeat: true}]",
			state:    ops.RunInconclusive, contains: []string{"the arguments must be a JSON object", "is there twice"},
		},
		"a refusal in words": {
			scenario: "turns: [{text: '', refusal: I will not, repeat: true}]",
			state:    ops.RunFailed, contains: []string{"refused to answer", "I will not"},
		},
		"arguments without end": {
			scenario: "chunk: 20000\nturns: [{calls: [{tool: ssh_execute, arguments: {target: h, command: '" + strings.Repeat("x", 70<<10) + "'}}], repeat: true}]",
			state:    ops.RunFailed, contains: []string{"the arguments of a tool call are too long"},
		},
		"arguments without end, in many calls": {
			scenario: "chunk: 20000\nturns: [{calls: [" + strings.TrimSuffix(strings.Repeat("{tool: ssh_execute, arguments: {target: h, command: '"+strings.Repeat("x", 60<<10)+"'}},", 5), ",") + "], repeat: true}]",
			state:    ops.RunFailed, contains: []string{"the arguments of a tool call are too long"},
		},
		"words without end": {
			scenario: "chunk: 50000\nturns: [{text: '" + strings.Repeat("and so on ", 30<<10) + "', repeat: true}]",
			state:    ops.RunFailed, contains: []string{"the answer is too long"},
		},
		"findings again and again that nothing backs": {
			scenario: "turns: [{calls: [{tool: submit_findings, arguments: {summary: s, root_cause: r, confidence: 1, evidence: [{call: c9}]}}], repeat: true}]",
			state:    ops.RunInconclusive, contains: []string{"which is no finished call of this run", "no root cause is backed by evidence"},
		},
		"more calls in a turn than there may be": {
			scenario: "turns: [{calls: [" + strings.TrimSuffix(strings.Repeat("{tool: ssh_hosts},", 70), ",") + "], repeat: true}]",
			state:    ops.RunFailed, contains: []string{"not understood"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.scenario)
			run := w.task()
			w.worker(func(c *Config) { c.backoff = 1 })
			require.Equal(t, tt.state, w.end(run).State, "%s", show(w.stored(run)))
			for _, want := range tt.contains {
				require.Contains(t, show(w.stored(run)), want)
			}
			require.Empty(t, w.gateway.ran())
		})
	}
}

// TestTheLargestTurn: what a model may say at most, all of it in a character that
// takes six bytes in an event, is stored like any other turn, on the same connection.
func TestTheLargestTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "turns: [{text: a}]")
	asked := false
	w.insteadIf = "Disk almost full"
	w.instead = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if asked {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		asked = true
		say := func(delta string, args ...any) {
			_, _ = fmt.Fprintf(rw, `data: {"choices":[{"delta":`+delta+"}]}\n\n", args...)
		}
		say(`{"content":%q}`, strings.Repeat("<", 256<<10))
		say(`{"reasoning_content":%q}`, strings.Repeat("<", 256<<10))
		say(`{"reasoning_details":[{"data":%q}]}`, strings.Repeat("x", 250<<10))
		for i := range 64 {
			arguments := "{}"
			if i < 4 {
				arguments = `{"command":"` + strings.Repeat("<", 65_450) + `"}`
			}
			say(`{"tool_calls":[{"index":%d,"id":%q,"function":{"name":%[2]q,"arguments":%[3]q}}]}`, i, strings.Repeat("<", 4000), arguments)
		}
		_, _ = fmt.Fprint(rw, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n")
	})
	run := w.task()
	w.worker()
	turn := w.until(run, kind(ops.EventMessage))
	require.Greater(t, len(turn.Data), 7<<20)
	require.Less(t, len(turn.Data), maxEvent)
	require.Equal(t, ops.RunFailed, w.end(run).State)
	require.Equal(t, 1, w.connections())
}

const (
	wait = 10 * time.Second
	tick = 2 * time.Millisecond
)

// agentHas says whether the worker has so many messages for a run.
func (w *world) agentHas(a *Agent, run string, messages int) bool {
	r := a.find(wire.RunRef{Run: run, Epoch: 1})
	return r != nil && len(r.inbox.messages()) == messages
}

// messagesOf gives the conversation of a request to the model.
func messagesOf(t *testing.T, request string) []any {
	t.Helper()
	var body struct{ Messages []any }
	require.NoError(t, json.Unmarshal([]byte(request), &body))
	require.NotEmpty(t, body.Messages)
	return body.Messages
}

// TestWhatPeopleSaidIsKept: in the shortest conversation, too, and what they said to the runs before.
func TestWhatPeopleSaidIsKept(t *testing.T) {
	t.Parallel()
	said := []ops.RunMessage{{Seq: 1, Actor: "user:ada", Text: "never touch web-1"}, {Seq: 2, Actor: "user:ada", Text: "it is not the disk"}}
	past, err := replay([]ops.Event{
		ops.NewEvent(ops.EventApplied, ops.Applied{Seq: 1}),
		ops.NewEvent(ops.EventMessage, ops.Message{Turn: 1, Text: "noted"}),
		ops.NewEvent(ops.EventApplied, ops.Applied{Seq: 2}),
	}, said)
	require.NoError(t, err)
	now, err := replay([]ops.Event{
		ops.NewEvent(ops.EventApplied, ops.Applied{Seq: 3}),
		ops.NewEvent(ops.EventMessage, ops.Message{Turn: 1, Text: "looking"}),
		ops.NewEvent(ops.EventMessage, ops.Message{Turn: 2, Text: "still"}),
		ops.NewEvent(ops.EventCompaction, ops.Compaction{Summary: "notes", Summarised: 1, Turns: 1}),
	}, []ops.RunMessage{{Seq: 3, Actor: "user:ada", Text: "look at web-2"}})
	require.NoError(t, err)
	now.past = []*transcript{past}
	text := fmt.Sprint(now.messages(1000))
	for _, m := range append(said, now.said[3]) {
		require.Contains(t, text, m.Text)
	}
}

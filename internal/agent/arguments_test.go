package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

func TestCanonical(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		``:                                     `{}`,
		` {"b": 1, "a": [true, null, "<x>"]} `: `{"a":[true,null,"<x>"],"b":1}`,
		`{"n":12345678901234567890}`:           `{"n":12345678901234567890}`,
		`{"a":"\ud800"}`:                       `{"a":"` + "\uFFFD" + `"}`,
	} {
		got, err := canonical(in)
		require.NoError(t, err, in)
		require.Equal(t, want, string(got))
	}
	for in, want := range map[string]string{
		`{"a": `:              "not valid JSON",
		`[1]`:                 "must be a JSON object",
		`"x"`:                 "must be a JSON object",
		`{"a":1} {}`:          "behind the object",
		`{"a":1,"a":2}`:       "twice",
		`{"a":{"b":1,"b":2}}`: "twice",
		`{"a":"\u0000"}`:      "NUL",
		`{"\u0000":1}`:        "NUL",
		`{"a":1e999999}`:      "out of range",
		"{\"a\":\"\xff\"}":    "UTF-8",
		`{"a":"` + strings.Repeat("\u2028", 12<<10) + `"}`:            "more than", // it is written with six bytes
		strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100): "deep",
	} {
		_, err := canonical(in)
		require.ErrorContains(t, err, want, in)
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add(`{"b": 1.50, "a": [true, null, "é"], "c": {"d": {}}}`)
	f.Add(`{"a":"\u0000"}`)
	f.Fuzz(func(t *testing.T, in string) {
		once, err := canonical(in)
		if err != nil {
			return
		}
		require.True(t, json.Valid(once))
		require.NotContains(t, string(once), `\u0000`)
		twice, err := canonical(string(once))
		require.NoError(t, err)
		require.Equal(t, string(once), string(twice))
	})
}

func TestHeadTail(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a line of words, é\n", 1000)
	cut := headTail(long, 1000)
	require.Less(t, len(cut), 1100)
	require.True(t, strings.HasPrefix(cut, "a line of words, é\n"))
	require.True(t, strings.HasSuffix(cut, "\na line of words, é\n"))
	require.Contains(t, cut, "bytes left out")
	require.Equal(t, "short", headTail("short", 1000))
	for limit := range 40 {
		require.True(t, utf8.ValidString(headTail(strings.Repeat("é", 100), limit)))
	}
}

func TestTrickle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []string
		tr := &trickle{emit: func(s string) { got = append(got, s) }}
		for range 250 { // one a millisecond
			tr.add("x")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.LessOrEqual(t, len(got), 4)
		require.Len(t, strings.Join(got, ""), 250)
		tr.add(strings.Repeat("y", 2*maxTrickle))
		tr.add(strings.Repeat("z", 2*maxTrickle)) // much: at once
		require.LessOrEqual(t, len(got), 6)
		tr.close()
		tr.add("late")
		time.Sleep(time.Second)
		require.Len(t, strings.Join(got, ""), 250+4*maxTrickle)
	})
}

// What one worker built from replies and results, another builds from events.
func TestReplayIsTheSameTranscript(t *testing.T) {
	t.Parallel()
	said := []ops.RunMessage{{Seq: 7, Actor: "user:ada", Text: "look at web-2"}, {Seq: 9, Actor: "user:ada", Text: "later"}}
	events := []ops.Event{ops.NewEvent(ops.EventBriefing, ops.Briefing{Text: "go"})}
	first, err := replay(events, nil)
	require.NoError(t, err)
	step := func(r llm.Reply, results ...ops.ToolResult) {
		m := first.message(r)
		first.add(m)
		events = append(events, ops.NewEvent(ops.EventMessage, m))
		for _, res := range results {
			first.result(res)
			events = append(events, ops.NewEvent(ops.EventToolResult, res))
		}
		first.settle()
	}
	step(llm.Reply{Text: "a\x00b", Calls: []llm.Call{{ID: "x", Name: "look", Arguments: `{"b":1,"a":2}`}, {ID: "x", Name: "bad name!", Arguments: `{"`}}},
		ops.ToolResult{ID: "c2", State: ops.CallDenied, Text: "no"}, ops.ToolResult{ID: "c1", State: ops.CallDone, Text: "seen"})
	first.hear(said[0])
	events = append(events, ops.NewEvent(ops.EventApplied, ops.Applied{Seq: 7}))
	step(llm.Reply{})
	step(llm.Reply{Text: "hm"})

	second, err := replay(events, said)
	require.NoError(t, err)
	require.Equal(t, first.messages(100), second.messages(100))
	require.Equal(t, first.asked, second.asked)
	require.Equal(t, map[string]string{"c1": "seen"}, second.outputs)
	require.Equal(t, 2, second.calls)
	require.Equal(t, 2, second.useless)

	msgs := second.messages(100)
	require.Equal(t, llm.Assistant, msgs[1].Role)
	require.Equal(t, "a\uFFFDb", msgs[1].Text)
	require.Equal(t, []llm.Call{{ID: "x", Name: "look", Arguments: `{"a":2,"b":1}`},
		{ID: "c2", Name: "bad_name_", Arguments: `{"malformed_arguments":"{\""}`}}, msgs[1].Calls)
	require.Equal(t, "[c1]\nseen", msgs[2].Text)
	require.Equal(t, "[c2]\n(denied)\nno", msgs[3].Text)
	require.Equal(t, "Message from ada, a person who works on this incident:\nlook at web-2", msgs[4].Text)
	require.Equal(t, "(nothing)", msgs[5].Text)
	require.Equal(t, nudgeEmpty, msgs[6].Text)
	require.Equal(t, nudgeText, msgs[8].Text)
	require.Equal(t, map[int64]bool{7: true}, second.applied)

	_, err = replay([]ops.Event{{Kind: ops.EventMessage, Data: json.RawMessage(`[]`)}}, nil)
	require.Error(t, err)
}

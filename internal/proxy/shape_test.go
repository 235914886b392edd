package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
)

// signed is what a turn has of its vendor's own, by kind.
var signed = map[string]string{
	"anthropic":         `[{"thinking":"hm","signature":"s"},{"redacted":"r"},{"text":2},{"call":true}]`,
	"google":            `{"text":[{"bytes":2,"signature":"s"}],"calls":[{"id":"i","signature":"s"}]}`,
	"openai":            `[{"id":"rs","encrypted":"e","summary":["s"]},{"text":2,"phase":"commentary"},{"call":true}]`,
	"openai-compatible": `[{"type":"reasoning.text","text":"x","signature":"s","index":0}]`,
	"openrouter":        `[{"type":"reasoning.text","text":"x","signature":"s","index":0}]`,
}

// requests is what package llm sends to a provider of the kind: conversations
// with everything in them, and with as little as there may be.
func requests(t testing.TB, kind, model string) (bodies [][]byte) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			bodies = append(bodies, body)
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer s.Close()
	m, err := llm.Open(llm.Config{Kind: kind, BaseURL: s.URL, Attempts: 1, Backoff: time.Millisecond})
	require.NoError(t, err)
	defer m.Close()
	vendor, err := json.Marshal(map[string]any{"kind": kind, "model": model, "data": json.RawMessage(signed[kind])})
	require.NoError(t, err)
	tools := []llm.Tool{{Name: "look", Description: "d", Schema: json.RawMessage(`{"type":"object","properties":{"a":{"type":["string","null"]}}}`)}, {Name: "bare"}}
	calls := []llm.Call{{ID: "c", Name: "look", Arguments: `{"a":{"b":["c"]}}`}, {ID: "d", Name: "look", Arguments: `malformed`}}
	turn := []llm.Message{{Role: llm.User, Text: "hi <&> \x01"}, {Role: llm.Assistant, Text: "ok and", Calls: calls},
		{Role: llm.ToolRole, CallID: "c", Text: "out"}, {Role: llm.ToolRole, CallID: "d"}, {Role: llm.User, Text: "go"}, {Role: llm.Assistant, Text: "words"}, {Role: llm.User, Text: "on"}}
	own := append([]llm.Message{}, turn...)
	own[1].Vendor = vendor
	for _, req := range []llm.Request{
		{Messages: own, Tools: tools, System: "sys", Effort: "high", MaxOutput: 100},
		{Messages: turn, Tools: tools, System: "sys", Effort: "low"},
		{Messages: own, System: "sys"},
		{Messages: own[:4], Tools: tools, Effort: "medium"},
		{Messages: turn[:1]},
	} {
		req.Model = model
		_, err := m.Stream(t.Context(), req, func(llm.Delta) {})
		require.Error(t, err)
	}
	require.NotEmpty(t, bodies)
	return bodies
}

// TestWhatAgentsSendPasses keeps the shapes and package llm together.
func TestWhatAgentsSendPasses(t *testing.T) {
	t.Parallel()
	for kind, k := range kinds() {
		for _, model := range []string{"m", "claude-3-7-sonnet", "claude-sonnet-5", "gemini-2.5-pro", "gemini-3", "gpt-4.1", "gpt-5", "a/b:free", `<"q">`} {
			for _, body := range requests(t, kind, model) {
				require.NoError(t, k.body().look(body, ops.Provider{Model: model}), "%s: %s", kind, body)
			}
		}
	}
}

// TestWhatAgentsDoNotSend: whoever has the token gets no other model, no tool and
// no address out of the vendor, and nothing is stored there.
func TestWhatAgentsDoNotSend(t *testing.T) {
	t.Parallel()
	const chat, responses, messages, google = `"messages":[{"role":"user","content":"x"}]`, `"store":false,"input":[{"role":"user","content":"x"}]`,
		`"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]`, `"contents":[{"role":"user","parts":[{"text":"x"}]}]`
	const secret = "attacker.example"
	for kind, all := range map[string]map[string]string{ // path in the reason to body
		"openai": {
			"model":                  `{"model":"dear",` + responses + `}`,
			"tools[].type":           `{"model":"m",` + responses + `,"tools":[{"type":"web_search"}]}`,
			"tools[].server_label":   `{"model":"m",` + responses + `,"tools":[{"server_label":"x","server_url":"https://attacker.example","type":"mcp"}]}`,
			"tools[].container":      `{"model":"m",` + responses + `,"tools":[{"type":"function","container":{"type":"auto"}}]}`,
			"store":                  `{"model":"m","store":true,"input":[]}`,
			"input":                  `{"model":"m","store":false,"input":{"a":"attacker.example"}}`,
			"input[].role":           `{"model":"m","store":false,"input":[{"role":"system","content":"x"}]}`,
			"input[].id":             `{"model":"m","store":false,"input":[{"id":"msg_1"}]}`,
			"input[].type":           `{"model":"m","store":false,"input":[{"type":"item_reference","id":"msg_1"}]}`,
			"input[].content":        `{"model":"m","store":false,"input":[{"role":"user","content":[{"type":"input_image","image_url":"https://attacker.example"}]}]}`,
			"input[].output":         `{"model":"m","store":false,"input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_url":"https://attacker.example"}]}]}`,
			"previous_response_id":   `{"model":"m",` + responses + `,"previous_response_id":"resp_1"}`,
			"conversation":           `{"model":"m",` + responses + `,"conversation":"c"}`,
			"prompt":                 `{"model":"m",` + responses + `,"prompt":{"id":"p"}}`,
			"background":             `{"model":"m",` + responses + `,"background":true}`,
			"include[]":              `{"model":"m",` + responses + `,"include":["web_search_call.action.sources"]}`,
			"service_tier":           `{"model":"m",` + responses + `,"service_tier":"priority"}`,
			"input[].type ":          `{"model":"m","store":false,"input":[{"type":"computer_call"}]}`,
			"tools[].type ":          `{"model":"m",` + responses + `,"tools":[{"type":"code_interpreter"}]}`,
			"tools[].type  ":         `{"model":"m",` + responses + `,"tools":[{"type":"\u0066unction"}]}`,
			"input[].type  ":         `{"model":"m","store":false,"input":[{"type":"function_call","type":"reasoning"}]} `,
			"reasoning":              `{"model":"m",` + responses + `,"reasoning":["x"]}`,
			"input[].summary[].type": `{"model":"m","store":false,"input":[{"type":"reasoning","summary":[{"type":"x"}]}]}`,
			"instructions":           `{"model":"m",` + responses + `,"instructions":[{"a":"b"}]}`,
			"store ":                 `{"model":"m","input":[]}`,
			"max_tool_calls":         `{"model":"m",` + responses + `,"max_tool_calls":1}`,
			"tools":                  `{"model":"m",` + responses + `,"tools":{"type":"function"}}`,
			"text":                   `{"model":"m",` + responses + `,"text":{"format":{"type":"text"}}}`,
			"input[]":                `{"model":"m","store":false,"input":["x"]}`,
			"MODEL":                  `{"MODEL":"dear","model":"m",` + responses + `}`,
		},
		"anthropic": {
			"model":                                  `{"model":"dear",` + messages + `}`,
			"mcp_servers":                            `{"model":"m",` + messages + `,"mcp_servers":[{"type":"url","url":"https://attacker.example"}]}`,
			"tools[].type":                           `{"model":"m",` + messages + `,"tools":[{"type":"web_search_20250305","name":"web_search"}]}`,
			"container":                              `{"model":"m",` + messages + `,"container":"c"}`,
			"messages[].content[].source":            `{"model":"m","messages":[{"role":"user","content":[{"source":{"type":"url","url":"https://attacker.example"},"type":"text"}]}]}`,
			"messages[].content[].type":              `{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://attacker.example"}}]}]}`,
			"messages[].content[].content[].type":    `{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"document"}]}]}]}`,
			"messages[].content[].cache_control.ttl": `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}`,
			"messages[].content[].type ":             `{"model":"m","messages":[{"role":"assistant","content":[{"type":"server_tool_use"}]}]}`,
			"messages[].content":                     `{"model":"m","messages":[{"role":"user","content":{"type":"text"}}]}`,
			"messages[].role":                        `{"model":"m","messages":[{"role":"system","content":[]}]}`,
			"service_tier":                           `{"model":"m",` + messages + `,"service_tier":"auto"}`,
			"tool_choice.type":                       `{"model":"m",` + messages + `,"tool_choice":{"type":"any"}}`,
			"context_management":                     `{"model":"m",` + messages + `,"context_management":{}}`,
		},
		"google": {
			"tools[].googleSearch":          `{` + google + `,"tools":[{"googleSearch":{}}]}`,
			"tools[].google_search":         `{` + google + `,"tools":[{"google_search":{}}]}`,
			"tools[].urlContext":            `{` + google + `,"tools":[{"functionDeclarations":[],"urlContext":{}}]}`,
			"tools[].codeExecution":         `{` + google + `,"tools":[{"codeExecution":{}}]}`,
			"contents[].parts[].fileData":   `{"contents":[{"role":"user","parts":[{"fileData":{"fileUri":"https://attacker.example"}}]}]}`,
			"contents[].parts[].inlineData": `{"contents":[{"role":"user","parts":[{"inlineData":{"data":"eA=="}}]}]}`,
			"cachedContent":                 `{` + google + `,"cachedContent":"cachedContents/1"}`,
			"toolConfig":                    `{` + google + `,"toolConfig":{}}`,
			"model":                         `{` + google + `,"model":"models/dear"}`,
			"contents[].parts[].functionResponse.response.output": `{"contents":[{"role":"user","parts":[{"functionResponse":{"response":{"output":{"$ref":"x"}}}}]}]}`,
		},
		"openrouter": {
			"model":                `{"model":"dear",` + chat + `}`,
			"models":               `{"model":"m",` + chat + `,"models":["dear"]}`,
			"plugins":              `{"model":"m",` + chat + `,"plugins":[{"id":"web"}]}`,
			"provider":             `{"model":"m",` + chat + `,"provider":{"order":["x"]}}`,
			"route":                `{"model":"m",` + chat + `,"route":"fallback"}`,
			"web_search_options":   `{"model":"m",` + chat + `,"web_search_options":{}}`,
			"preset":               `{"model":"m",` + chat + `,"preset":"p"}`,
			"reasoning.max_tokens": `{"model":"m",` + chat + `,"reasoning":{"max_tokens":9}}`,
			"messages[].content":   `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://attacker.example"}}]}]}`,
		},
		"openai-compatible": {
			"model":              `{"model":"dear",` + chat + `}`,
			"model ":             `{"model":"m","model":"m",` + chat + `}`,
			"model  ":            `{` + chat + `}`,
			"model   ":           `{"model":["m"],` + chat + `}`,
			`mod\\u0065l`:        `{"mod\u0065l":"dear","model":"m",` + chat + `}`,
			"usage":              `{"model":"m",` + chat + `,"usage":{"include":true}}`,
			"n":                  `{"model":"m",` + chat + `,"n":100}`,
			"tools[].type":       `{"model":"m",` + chat + `,"tools":[{"type":"mcp","function":{}}]}`,
			"functions":          `{"model":"m",` + chat + `,"functions":[]}`,
			"messages[].content": `{"model":"m","messages":[{"role":"user","content":[{"type":"file"}]}]}`,
			"messages[].images":  `{"model":"m","messages":[{"role":"user","images":["https://attacker.example"]}]}`,
			"messages[].role":    `{"model":"m","messages":[{"role":"developer"}]}`,
			"messages[].tool_calls[].function.arguments": `{"model":"m","messages":[{"role":"assistant","tool_calls":[{"type":"function","function":{"arguments":{"a":1}}}]}]}`,
			"response_format": `{"model":"m",` + chat + `,"response_format":{}}`,
		},
	} {
		s := kinds()[kind].body()
		for path, body := range all {
			err := s.look([]byte(body), ops.Provider{Model: "m"})
			require.Error(t, err, "%s: %s", kind, body)
			require.Contains(t, err.Error(), `"`+strings.TrimRight(path, " ")+`"`, "%s: %s", kind, body)
			require.NotContains(t, err.Error(), secret)
		}
		for _, body := range []string{"", " ", "null", "1", `"x"`, "[]", "{", `{"model":"m"} {}`, "\xef\xbb\xbf{}", `{"model":"m` + "\xff" + `"}`,
			`{"model":"m","tools":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + "}"} {
			require.Error(t, s.look([]byte(body), ops.Provider{Model: "m"}), "%s: %s", kind, body)
		}
	}
}

// A refused body reaches no provider and opens no key, and the audit has why.
func TestARefusedBody(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused request reached the provider") })
	w := newWorld(t, up.URL, nil, nil)
	status, body := w.answer(func(r *http.Request) {
		text := strings.Replace(asked, `"m"`, `"dear"`, 1)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	})
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, body, "not one that agents send")
	short, all := w.audit()
	require.Equal(t, []string{"llm.denied denied"}, short)
	require.Contains(t, all[0].Detail["reason"], `"model"`)
	require.NotContains(t, all[0].Detail["reason"], "dear")
}

// FuzzLook: what passes says to every reader of JSON what it says here.
func FuzzLook(f *testing.F) {
	all := map[string]shape{}
	for kind, k := range kinds() {
		all[kind] = k.body()
		for _, body := range requests(f, kind, "m") {
			f.Add(kind, body)
		}
	}
	f.Add("openai", []byte(`{"model":"m","store":false,"input":[{"type":"reasoning","summary":[]}]}`))
	f.Add("openrouter", []byte(` { "model" : "m" , "messages" : [ ] } `))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		s, ok := all[kind]
		if !ok || s.look(body, ops.Provider{Model: "m"}) != nil {
			return
		}
		var top map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &top))
		for key := range top {
			require.Contains(t, s.keys, key)
		}
		if _, ok := s.keys["model"]; ok {
			require.JSONEq(t, `"m"`, string(top["model"]))
		}
		var again bytes.Buffer
		require.NoError(t, json.Compact(&again, body))
		require.NoError(t, s.look(again.Bytes(), ops.Provider{Model: "m"}), "white space changes nothing")
	})
}

func BenchmarkLook(b *testing.B) {
	for name, body := range map[string]string{
		"long":  `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("a line of a log\\n", 60_000) + `"}]}`,
		"short": `{"model":"m","messages":[` + strings.Repeat(`{"role":"user","content":"a"},`, 30_000) + `{"role":"user","content":"a"}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if err := compatibleShape().look([]byte(body), ops.Provider{Model: "m"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

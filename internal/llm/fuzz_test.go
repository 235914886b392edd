package llm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"
	"github.com/stretchr/testify/require"

	"github.com/anthropics/anthropic-sdk-go"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		"":                                  nil,
		"data: a\n\n":                       {"a"},
		"data:a\r\n\r\ndata: b\r\n\r\n":     {"a", "b"},
		"data: a\ndata:  b\n\n":             {"a\n b"},
		": hello\n\nevent: x\n\ndata\n\n":   {""},
		"data: a\n\ndata: not whole":        {"a"},
		"data: a\n\ndata: not whole\n":      {"a"},
		"database: x\nid: 1\ndata: a\n\n":   {"a"},
		"data: {\"a\":\n\ndata: 日本\n\n\n\n": {`{"a":`, "日本"},
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			var got []string
			for data, err := range events(r) {
				require.NoError(t, err)
				got = append(got, string(data))
			}
			require.Equal(t, want, got, "%q", in)
		}
	}
	for _, in := range []string{"data: " + strings.Repeat("x", maxEvent), strings.Repeat("data: "+strings.Repeat("x", 1<<20)+"\n", 9)} {
		var last error
		for _, err := range events(strings.NewReader(in)) {
			last = err
		}
		require.Equal(t, Malformed, KindOf(last))
	}
}

// FuzzEvents: how a stream is cut does not change what it says.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: a\r\n\r\n: c\ndata: b\ndata:c\n\n"))
	f.Add([]byte("event: x\nid: 3\ndata\n\ndata: \xff\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(r io.Reader) (out []string) {
			for data, err := range events(r) {
				require.NoError(t, err)
				out = append(out, string(data))
			}
			return out
		}
		whole := read(bytes.NewReader(in))
		require.Equal(t, whole, read(iotest.OneByteReader(bytes.NewReader(in))))
		require.Equal(t, whole, read(iotest.HalfReader(bytes.NewReader(in))))
	})
}

// sane checks what holds of each reply and error, whatever a vendor sends.
func sane(t *testing.T, r Reply, err error, said Delta) {
	t.Helper()
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			e, ok = errors.AsType[*Error]((&wire{}).broken(err))
		}
		require.True(t, ok)
		require.NotEmpty(t, e.Kind)
		require.Less(t, len(e.Error()), 2048)
		return
	}
	require.Equal(t, said.Text, r.Text)
	require.Equal(t, said.Reasoning, r.Reasoning)
	require.LessOrEqual(t, len(r.Text), maxText)
	require.LessOrEqual(t, len(r.Calls), maxCalls)
	require.LessOrEqual(t, len(r.Vendor), maxVendor)
	if len(r.Vendor) > 0 {
		require.True(t, json.Valid(r.Vendor))
	}
	require.NotEmpty(t, r.Stop)
	// What came can be sent again, to each vendor.
	req := Request{Model: "m", Effort: "low", Messages: []Message{{Role: User, Text: "x"}, {Role: Assistant, Text: r.Text, Calls: r.Calls, Vendor: r.Vendor}}}
	for _, c := range r.Calls {
		req.Messages = append(req.Messages, Message{Role: ToolRole, CallID: c.ID, Text: "y"})
	}
	for _, body := range []any{googleRequestOf(req), anthropicRequest(req), openAIRequest(openRouter, req), responsesRequest(req, &wishes{})} {
		raw, err := json.Marshal(body)
		require.NoError(t, err)
		require.True(t, json.Valid(raw))
	}
}

func FuzzGoogleStream(f *testing.F) {
	f.Add([]byte(`data: {"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"a"},{"text":"","thoughtSignature":"cw=="}]}}],"usageMetadata":{"promptTokenCount":3}}` +
		"\r\n\r\n" + `data: {"candidates":[{"content":{"parts":[{"functionCall":{"id":"1","name":"f","args":{"a":1}},"thoughtSignature":"cw=="},{"functionCall":{"name":"g"}}]},"finishReason":"STOP"}],"modelVersion":"m"}` + "\r\n\r\n"))
	f.Add([]byte(`data: {"error":{"code":503,"message":"x","status":"UNAVAILABLE","details":[{"retryDelay":"3s"}]}}` + "\n\n"))
	f.Add([]byte(`data: {"promptFeedback":{"blockReason":"SAFETY"}}` + "\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := googleReply{}
		var said Delta
		for data, err := range events(bytes.NewReader(in)) {
			require.NoError(t, err)
			pieces, err := r.add(data)
			if err != nil {
				sane(t, Reply{}, err, said)
				return
			}
			for _, p := range pieces {
				said.Text += p.Text
				said.Reasoning += p.Reasoning
			}
		}
		reply, err := r.finish("m")
		sane(t, reply, err, said)
	})
}

func FuzzGoogleError(f *testing.F) {
	f.Add(429, []byte(`{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"34s"},{"violations":[{"quotaId":"PerDay"}]},{"reason":"API_KEY_INVALID"}]}}`))
	f.Add(500, []byte(`[{"error":{"code":"provider_auth","type":"akmatori_proxy"}}]`))
	f.Fuzz(func(t *testing.T, status int, raw []byte) {
		sane(t, Reply{}, googleError(status, http.Header{}, raw), Delta{})
	})
}

func FuzzAnthropicEvents(f *testing.F) {
	f.Add([]byte(`{"type":"message_start","message":{"model":"m","usage":{"input_tokens":3,"cache_read_input_tokens":2}}}
{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}
{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}
{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}
{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}
{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a"}}
{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"1","name":"f","input":{}}}
{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}
{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}
{"type":"message_stop"}`))
	f.Add([]byte(`{"type":"content_block_delta","index":5,"delta":{"type":"text_delta","text":"a"}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := anthropicReply{blocks: map[int64]*anthropicBlock{}}
		var said Delta
		for line := range bytes.Lines(in) {
			var e anthropic.MessageStreamEventUnion
			if json.Unmarshal(line, &e) != nil {
				return // the library ends the stream
			}
			p, err := r.add(e)
			if err != nil {
				sane(t, Reply{}, err, said)
				return
			}
			said.Text += p.Text
			said.Reasoning += p.Reasoning
		}
		reply, err := r.finish("m")
		sane(t, reply, err, said)
	})
}

func FuzzOpenAIChunks(f *testing.F) {
	f.Add([]byte(`{"model":"m","choices":[{"delta":{"reasoning":"h","reasoning_details":[{"type":"reasoning.text","text":"h","index":0,"signature":"s"}]}}]}
{"choices":[{"delta":{"content":"a","tool_calls":[{"index":0,"id":"1","function":{"name":"f","arguments":"{"}}]}}]}
{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]},"finish_reason":"tool_calls"}]}
{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"cost":0.1,"prompt_tokens_details":{"cached_tokens":1}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := openAIReply{}
		var said Delta
		for line := range bytes.Lines(in) {
			var c openai.ChatCompletionChunk
			if json.Unmarshal(line, &c) != nil {
				return
			}
			p, err := r.add(c)
			if err != nil {
				sane(t, Reply{}, err, said)
				return
			}
			said.Text += p.Text
			said.Reasoning += p.Reasoning
		}
		reply, err := r.finish(openRouter, "m")
		sane(t, reply, err, said)
	})
}

func FuzzResponsesEvents(f *testing.F) {
	f.Add([]byte(`{"type":"response.created","response":{"model":"m","status":"in_progress"}}
{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[]}}
{"type":"response.reasoning_summary_text.delta","output_index":0,"delta":"hm"}
{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","encrypted_content":"x","summary":[{"type":"summary_text","text":"hm"}]}}
{"type":"response.output_item.added","output_index":1,"item":{"type":"message","id":"msg_1"}}
{"type":"response.output_text.delta","output_index":1,"delta":"a"}
{"type":"response.output_item.done","output_index":1,"item":{"type":"message","id":"msg_1","phase":"commentary"}}
{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","call_id":"c","name":"f","arguments":""}}
{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{}"}
{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":3,"output_tokens":2}}}`))
	f.Add([]byte(`{"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}`))
	f.Add([]byte(`{"type":"error","code":"x","message":"y"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := responsesReply{items: map[int64]*responsesItem{}}
		var said Delta
		for line := range bytes.Lines(in) {
			var e responses.ResponseStreamEventUnion
			if json.Unmarshal(line, &e) != nil {
				return
			}
			p, err := r.add(e)
			if err != nil {
				sane(t, Reply{}, err, said)
				return
			}
			said.Text += p.Text
			said.Reasoning += p.Reasoning
		}
		reply, err := r.finish("m")
		sane(t, reply, err, said)
	})
}

package fake

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

const testKey = "sk-test"

func newVendor(t *testing.T, scenario string) (*Vendor, string) {
	t.Helper()
	s, err := LoadScenario(strings.NewReader(scenario))
	require.NoError(t, err)
	o := NewVendor(s, Config{Key: ops.NewSecret(testKey)})
	srv := httptest.NewServer(o)
	t.Cleanup(srv.Close)
	return o, srv.URL + "/v1/chat/completions"
}

func post(t *testing.T, url, key, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

const hello = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`

func TestVendorRefuses(t *testing.T) {
	t.Parallel()
	o, url := newVendor(t, "turns: [{text: hello}]")
	for name, tt := range map[string]struct {
		key, body string
		status    int
		want      string
	}{
		"no key":          {"", hello, 401, "invalid_api_key"},
		"wrong key":       {"sk-other", hello, 401, "invalid_api_key"},
		"no JSON":         {testKey, "{", 400, "could not parse"},
		"no model":        {testKey, `{"messages":[{"role":"user","content":"hi"}]}`, 400, "model parameter"},
		"no messages":     {testKey, `{"model":"m","messages":[]}`, 400, "empty array"},
		"unknown role":    {testKey, `{"model":"m","messages":[{"role":"boss","content":"hi"}]}`, 400, "boss"},
		"result first":    {testKey, `{"model":"m","messages":[{"role":"tool","content":"x","tool_call_id":"a"}]}`, 400, "must be a response"},
		"no result":       {testKey, `{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"user","content":"x"}]}`, 400, "must be followed"},
		"nameless tool":   {testKey, `{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function"}]}`, 400, "tools[0]"},
		"after the end":   {testKey, `{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"a"}]}`, 400, "no turn 2"},
		"empty assistant": {testKey, `{"model":"m","messages":[{"role":"assistant","content":""}]}`, 400, "needs content"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := post(t, url, tt.key, tt.body)
			require.Equal(t, tt.status, status, body)
			var e struct {
				Error struct{ Message, Type string }
			}
			require.NoError(t, json.Unmarshal([]byte(body), &e))
			require.NotEmpty(t, e.Error.Type)
			require.Contains(t, body, tt.want)
		})
	}
	require.Equal(t, 2, o.Refused())
	require.Zero(t, o.Requests(1))
}

func TestVendorStreams(t *testing.T) {
	t.Parallel()
	o, url := newVendor(t, `
chunk: 2
turns:
  - text: "héllo"
    calls: [{tool: look, arguments: {at: 'a "b"', n: 3}}]
`)
	status, body := post(t, url, testKey, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`)
	require.Equal(t, 200, status)
	var text, name, args, finish string
	var total, chunks int
	done := false
	sc := bufio.NewScanner(strings.NewReader(body))
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if !ok {
			require.Empty(t, sc.Text())
			continue
		}
		if data == "[DONE]" {
			done = true
			continue
		}
		chunks++
		var c struct {
			Object  string
			Choices []struct {
				Delta struct {
					Content   string
					ToolCalls []chatCall `json:"tool_calls"`
				}
				FinishReason string `json:"finish_reason"`
			}
			Usage struct {
				Total int `json:"total_tokens"`
			}
		}
		require.NoError(t, json.Unmarshal([]byte(data), &c))
		require.Equal(t, "chat.completion.chunk", c.Object)
		total += c.Usage.Total
		for _, ch := range c.Choices {
			text += ch.Delta.Content
			for _, d := range ch.Delta.ToolCalls {
				name, args = name+d.Function.Name, args+d.Function.Arguments
			}
			finish += ch.FinishReason
		}
	}
	require.True(t, done)
	require.Equal(t, "héllo", text)
	require.Equal(t, "look", name)
	require.JSONEq(t, `{"at":"a \"b\"","n":3}`, args)
	require.Equal(t, "tool_calls", finish)
	require.Positive(t, total)
	require.Greater(t, chunks, 10)
	require.Equal(t, 1, o.Requests(1))
}

func TestVendorAnswersWhole(t *testing.T) {
	t.Parallel()
	_, url := newVendor(t, "turns: [{text: hello}]")
	status, body := post(t, url, testKey, hello)
	require.Equal(t, 200, status)
	require.Contains(t, body, `"content":"hello"`)
	require.Contains(t, body, `"finish_reason":"stop"`)
}

func TestVendorFaultsThenAnswers(t *testing.T) {
	t.Parallel()
	o, url := newVendor(t, `
turns:
  - text: fine
    faults:
      - {status: 429, headers: {Retry-After: "1"}, times: 2, code: rate_limit_exceeded}
      - {status: 500}
`)
	for _, want := range []int{429, 429, 500, 200, 200} {
		status, _ := post(t, url, testKey, hello)
		require.Equal(t, want, status)
	}
	require.Equal(t, 5, o.Requests(1))
}

func TestVendorRepeatsAndConcludes(t *testing.T) {
	t.Parallel()
	o, url := newVendor(t, `
turns: [{text: again, repeat: true}]
conclude: {text: enough}
`)
	tool := `,"tools":[{"type":"function","function":{"name":"look"}}]`
	conv := `{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"a"},{"role":"assistant","content":"b"}]`
	_, body := post(t, url, testKey, conv+tool+"}")
	require.Contains(t, body, "again")
	_, body = post(t, url, testKey, conv+"}")
	require.Contains(t, body, "enough")
	_, body = post(t, url, testKey, conv+strings.Replace(tool, "look", "submit_findings", 1)+"}")
	require.Contains(t, body, "enough")
	require.Equal(t, 1, o.Requests(1))
	require.Equal(t, 2, o.Requests(0))
}

func TestTemplatesQuoteTheConversation(t *testing.T) {
	t.Parallel()
	in := conversation{
		user:    `{"title":"Disk","host":"web \"1\""}`,
		outputs: map[string]string{"c2": "Filesystem Size Used\n  /dev/sda1  10G   9G 1G 90% /\nnone 1 1 1 1% /x\n"},
	}
	for tmpl, want := range map[string]string{
		`plain {text}`:                             "plain {text}",
		`{{grep "c2" "\\s/$"}}`:                    "/dev/sda1  10G   9G 1G 90% /",
		`{{field (grep "c2" "\\s/$") 5}}`:          "90%",
		`{{field (grep "c2" "\\s/$") 50}}`:         "",
		`{{grep "c9" "x"}}{{grep "c2" "nowhere"}}`: "",
		`{{alert "host"}}/{{alert "none"}}`:        `web "1"/`,
	} {
		got, err := in.render(tmpl)
		require.NoError(t, err)
		require.Equal(t, want, got, tmpl)
	}
	_, err := in.render(`{{grep "c2" "("}}`)
	require.Error(t, err)
}

func TestLoadScenarioRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       "scenario",
		"turns: []":              "no turns",
		"turnz: [{text: a}]":     "turnz",
		"turns: [{texts: a}]":    "texts",
		"turns: [{text: '{{'}]":  "template",
		"turns: [{calls: [{}]}]": "no tool",
		"turns: [{text: a, repeat: true}, {text: b}]":                                            "only the last",
		"turns: [{text: a, faults: [{times: 1}]}]":                                               "exactly one",
		"turns: [{text: a, faults: [{status: 200}]}]":                                            "no error",
		"turns: [{calls: [{tool: x, raw: '{', arguments: {a: 1}}]}]":                             "both",
		"turns: [{calls: [{tool: x, arguments: {a: '{{nope}}'}}]}]":                              "nope",
		"turns: [{text: a}]\n---\nturns: [{text: b}]":                                            "more than one",
		"turns: [{text: a}]\ndelay: -1s":                                                         "negative",
		"turns: [{text: a}]\ndelay: soon":                                                        "soon",
		"turns: [{text: a, faults: [{cut: 1, garbage: 2}]}]":                                     "exactly one",
		"turns: [{text: '{{grep \"c1\"}}'}, {text: '{{if}}'}]":                                   "missing value",
		"turns: [{text: a}]\nconclude: {calls: [{arguments: {}}]}":                               "conclude",
		"turns: [{text: a}]\n# " + strings.Repeat("x", maxScenario):                              "over",
		"turns: [{text: a, faults: [{status: 429, headers: {Retry-After: 1}, nonsense: true}]}]": "nonsense",
	} {
		_, err := LoadScenario(strings.NewReader(text))
		require.ErrorContains(t, err, want, "%.60s", text)
	}
}

func TestEmbeddedScenarios(t *testing.T) {
	t.Parallel()
	s, err := Embedded("disk")
	require.NoError(t, err)
	require.Len(t, s.Turns, 3)
	_, err = Embedded("nothing")
	require.ErrorContains(t, err, "nothing")
}

func FuzzLoadScenario(f *testing.F) {
	disk, err := os.ReadFile("scenarios/disk.yaml")
	require.NoError(f, err)
	f.Add(disk)
	f.Add([]byte("turns: [{text: '{{grep \"c1\" \"x\"}}', calls: [{tool: a, arguments: {b: [1, 2.5, null]}}]}]"))
	f.Add([]byte("delay: 1ms\nturns:\n- raw: {"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 || bytes.Count(data, []byte("*")) > 2 { // operators' own files: no alias bombs
			return
		}
		s, err := LoadScenario(bytes.NewReader(data))
		if err != nil {
			return
		}
		require.NotEmpty(t, s.Turns)
		in := conversation{}
		for _, turn := range s.Turns {
			for _, c := range turn.Calls {
				if text, err := c.arguments(in); err == nil && c.Raw == "" {
					require.True(t, json.Valid([]byte(text)), text)
				}
			}
		}
	})
}

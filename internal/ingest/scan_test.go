package ingest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzScan asks encoding/json: what is scanned is what it decodes, and what
// is left to it may be anything.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"alerts":[{"labels":{"a":"\u0000","a":null,"b":[1, "x}"] },"startsAt":"9999-12-31T23:59:59Z"}]}`,
		" {\n\"alerts\" : [ {\"Status\":\"x\"}, {\"status\" : null , \"orgId\": 7}\t,{} ,1 ,\"\\\\\\\"\" ] , \"receiver\":\"r\\\"}\", \"receiver\": null } ",
		`{"alerts":[],"ALERTS":[{}]}`, `{"alerts":[{}],"alerts":[{"labels":{}}]}`, `{"groupLabels":1,"alerts":[{"labels":"x"}]}`,
		`{"\u0061lerts":[{"l\u0061bels":{"\ud800":"x"},"status":"\ud800"}]}`, "{\"alerts\":[{\"labels\":{\"\xff\xfe\":\"\xff\xfe\"}}]}", `null`, `[]`,
	} {
		f.Add(seed)
	}
	goldens, err := filepath.Glob("testdata/*.json")
	require.NoError(f, err)
	for _, name := range goldens {
		body, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(string(body))
	}
	f.Fuzz(func(t *testing.T, body string) {
		msg, alerts, ok := scanGroup([]byte(body))
		if !ok {
			return
		}
		want, decoded, err := decodeGroup([]byte(body))
		require.NoError(t, err)
		want.Alerts = nil
		require.Equal(t, want, msg)
		require.Len(t, alerts, len(decoded))
		for i, raw := range decoded {
			require.Equal(t, string(raw), string(alerts[i]))
			var want alertmanagerAlert
			if a, ok := scanAlert(alerts[i]); ok {
				require.NoError(t, json.Unmarshal(raw, &want))
				require.Equal(t, want, a)
			}
		}
	})
}

// The bodies of real senders need no second look.
func TestScanReadsWhatSendersWrite(t *testing.T) {
	read := 0
	for _, kind := range []string{"alertmanager", "grafana"} {
		goldens, err := filepath.Glob("testdata/" + kind + "-*.json")
		require.NoError(t, err)
		for _, name := range goldens {
			body, err := os.ReadFile(name)
			require.NoError(t, err)
			_, alerts, ok := scanGroup(body)
			for _, raw := range alerts {
				if _, plain := scanAlert(raw); plain && ok {
					read++
				}
			}
		}
	}
	require.Greater(t, read, 10)
}

// stringMap itself is decoded by what is tested: this is how it was before.
func FuzzStringMap(f *testing.F) {
	f.Add(`{"a":"b","a":null,"c":{"d":[1,2]},"e":-1.5e3 , "":" \\\" " }`)
	f.Add(`null`)
	f.Add(`[]`)
	f.Add("{\"\xff\":1}")
	f.Fuzz(func(t *testing.T, text string) {
		var raw map[string]json.RawMessage
		var got stringMap
		wrong := json.Unmarshal([]byte(text), &raw)
		require.Equal(t, wrong == nil, json.Unmarshal([]byte(text), &got) == nil)
		want := stringMap{}
		for k, v := range raw {
			if string(v) != "null" {
				want[clean(k)] = looseText(v)
			}
		}
		if wrong == nil && len(want) == len(got) { // two names may become one
			require.Equal(t, want, got)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body, err := os.ReadFile("testdata/alertmanager-group.json")
	require.NoError(b, err)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := parseAlertmanager(Request{Body: body})
		require.NoError(b, err)
	}
}

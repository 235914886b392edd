package gateway

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzEnvelope: a message that passes says one thing to every reader.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{`{"method":"ping"}`, `{"method":"a","Method":"b"}`, `{"params":{"name":"x","_meta":{"a":1,"a":2}}}`, `[]`, `{`, `{"a":1}{"a":2}`,
		`{"params":{"name":"a"},"PARAMS":{"name":"b"}}`, `{"\u006dethod":"a","method":"b"}`, `{"params":[1]}`, `{"methoD\u0000":1}`, `{"ſ":1,"s":2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ambiguous([]byte(s)) {
			return
		}
		var exact map[string]json.RawMessage
		if json.Unmarshal([]byte(s), &exact) != nil {
			return // no object: refused as no request
		}
		// A reader that goes by the exact name and one that folds see the same.
		var folded struct{ Method, Params json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(s), &folded))
		n := 0
		for name, value := range exact {
			if strings.EqualFold(name, "method") {
				n++
				require.Equal(t, string(value), string(folded.Method))
			}
		}
		require.LessOrEqual(t, n, 1)
	})
}

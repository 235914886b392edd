package ops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSecretNeverShows(t *testing.T) {
	t.Parallel()
	const plain = "hunter2-hunter2"
	s := NewSecret(plain)
	type holder struct {
		S Secret
		P *Secret
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("x", "s", s, "h", holder{s, &s}, "err", fmt.Errorf("with %v", s))
	shown := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, &s) + fmt.Sprintf(verb, holder{s, &s})
	}
	j, err := json.Marshal(map[string]any{"s": s, "h": holder{s, &s}, "m": map[Secret]int{s: 1}})
	require.NoError(t, err)
	shown += string(j)
	require.NotContains(t, shown, "hunter2")
	require.NotContains(t, shown, fmt.Sprintf("%x", plain))

	var back struct{ S Secret }
	require.NoError(t, json.Unmarshal([]byte(`{"S":"hunter2"}`), &back))
	require.True(t, back.S.Equal(NewSecret("hunter2")))
	require.False(t, back.S.Equal(NewSecret("hunter3")))
}

func TestCodes(t *testing.T) {
	t.Parallel()
	wrapped := fmt.Errorf("doing: %w", Errorf(CodeConflict, "it is %s", "taken"))
	require.Equal(t, CodeConflict, CodeOf(wrapped))
	require.Equal(t, "it is taken", MessageOf(wrapped))
	require.Equal(t, CodeInternal, CodeOf(errors.New("password=x")))
	require.Equal(t, "internal error", MessageOf(errors.New("password=x")))
	require.Equal(t, Code(""), CodeOf(nil))
}

func TestIDs(t *testing.T) {
	t.Parallel()
	a, b := NewID(), NewID()
	require.True(t, ValidID(a))
	require.NotEqual(t, a, b)
	require.Equal(t, byte('7'), a[14])
	for _, bad := range []string{"", "1", strings.Repeat("x", 36), a[:35], a + "0", strings.ToUpper(a) + " ", "0000000-00000-0000-0000-000000000000"} {
		require.False(t, ValidID(bad), bad)
	}
	require.NotEqual(t, NewToken("p_").Reveal(), NewToken("p_").Reveal())
	require.Len(t, HashToken(NewToken("p_")), 32)
}

func TestCheckFindings(t *testing.T) {
	t.Parallel()
	outputs := map[string]string{"c1": "/dev/sda1   97% /\n", "c2": ""}
	cite := func(call, excerpt string) []Citation { return []Citation{{Call: call, Excerpt: excerpt}} }
	for name, tt := range map[string]struct {
		in         Finding
		conclusive bool
		confidence float64
		dropped    int
	}{
		"backed and confirmed": {Finding{RootCause: "disk", Confidence: 0.9, Evidence: cite("c1", "97% /"),
			Hypotheses: []Hypothesis{{Statement: "disk", Verdict: VerdictConfirmed, Evidence: cite("c1", "")}}}, true, 0.9, 0},
		"backed, nothing confirmed": {Finding{RootCause: "disk", Confidence: 0.9, Evidence: cite("c1", "/dev/sda1 97%")}, true, 0.5, 0},
		"no citation":               {Finding{RootCause: "disk", Confidence: 0.9}, false, 0, 1},
		"unknown call":              {Finding{RootCause: "disk", Confidence: 0.9, Evidence: cite("c9", "")}, false, 0, 2},
		"words nobody printed":      {Finding{RootCause: "disk", Confidence: 0.9, Evidence: cite("c1", "98%")}, false, 0, 2},
		"no root cause":             {Finding{RootCause: " ", Confidence: 1, Evidence: cite("c1", "")}, false, 0, 0},
		"confidence out of range":   {Finding{RootCause: "disk", Confidence: 7, Evidence: cite("c1", "")}, true, 0.5, 0},
		"confidence is no number":   {Finding{RootCause: "disk", Confidence: math.NaN(), Evidence: cite("c1", "")}, true, 0, 0},
		"verdict without evidence": {Finding{RootCause: "disk", Confidence: 0.9, Evidence: cite("c1", ""),
			Hypotheses: []Hypothesis{{Verdict: VerdictConfirmed}, {Verdict: "made up", Evidence: cite("c2", "")}}}, true, 0.5, 1},
		"claims of the model": {Finding{Conclusive: true, Dropped: []string{"x"}}, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := CheckFindings(tt.in, outputs)
			require.Equal(t, tt.conclusive, got.Conclusive)
			require.InDelta(t, tt.confidence, got.Confidence, 0)
			require.Len(t, got.Dropped, tt.dropped, "%v", got.Dropped)
			require.Equal(t, got, CheckFindings(got, outputs).withDropped(got.Dropped), "a second check changes it")
			for _, h := range got.Hypotheses {
				if h.Verdict != VerdictOpen {
					require.NotEmpty(t, h.Evidence)
				}
			}
		})
	}
}

func (f Finding) withDropped(d []string) Finding { f.Dropped = d; return f }

func TestVerifyChain(t *testing.T) {
	t.Parallel()
	chain := func() []AuditRecord {
		var records []AuditRecord
		var prev []byte
		for i := range 5 {
			r := AuditRecord{Chain: "api", At: time.Now(), Actor: fmt.Sprint(i), Detail: map[string]string{"k": "v"}}
			r.Link(int64(i+1), prev)
			prev = r.Hash
			records = append(records, r)
		}
		return records
	}
	for name, tamper := range map[string]func([]AuditRecord) []AuditRecord{
		"edited":     func(r []AuditRecord) []AuditRecord { r[2].Detail = map[string]string{"k": "w"}; return r },
		"removed":    func(r []AuditRecord) []AuditRecord { return append(r[:2], r[3:]...) },
		"reordered":  func(r []AuditRecord) []AuditRecord { r[2], r[3] = r[3], r[2]; return r },
		"rewritten":  func(r []AuditRecord) []AuditRecord { r[2].Actor = "x"; r[2].Link(3, r[1].Hash); return r },
		"renumbered": func(r []AuditRecord) []AuditRecord { r[2].Seq = 9; return r },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := VerifyChain(nil, chain())
			require.NoError(t, err)
			_, err = VerifyChain(nil, tamper(chain()))
			var broken *ChainError
			require.ErrorAs(t, err, &broken)
			require.Contains(t, []int64{3, 4}, broken.Seq)
		})
	}
}

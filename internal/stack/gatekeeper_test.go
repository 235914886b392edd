package stack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// A call that no rule allows is rated by a model, through the real proxy with
// its key, approved by that, and runs once. Everybody sees that no person was asked.
func TestGatekeeper(t *testing.T) {
	t.Parallel()
	c := newAsked(t)
	nonce := regexp.MustCompile(`\\"review\\":\\"([0-9a-f]{24})\\"`)
	var asked atomic.Int32
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || nonce.FindSubmatch(body) == nil || !strings.Contains(string(body), "nproc --all") {
			http.Error(w, "not what was expected", http.StatusBadRequest)
			return
		}
		asked.Add(1)
		text := fmt.Sprintf(`{"review":%q,"risk":"low","reasoning":"it counts processors"}`, nonce.FindSubmatch(body)[1])
		delta, _ := json.Marshal(text)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":%s},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", delta)
	}))
	t.Cleanup(judge.Close)
	require.NoError(t, c.db.PutProvider(t.Context(), ops.Provider{ID: ops.NewID(), Name: "judge", Kind: "openai-compatible", BaseURL: judge.URL + "/v1", Model: "m", AllowPrivate: true}))
	c.startAll()
	status, body := c.send("PUT", "/api/v1/gatekeeper", map[string]any{"enabled": true, "provider": "judge", "threshold": "low", "effects": []string{"reads"}, "tools": []string{"ssh_execute"}})
	require.Equal(t, 200, status, string(body))
	c.alert("DiskFull", "firing", time.Now().UTC().Truncate(time.Millisecond))
	i := c.concluded()
	c.mu.Lock()
	require.Equal(t, 1, c.execs["nproc --all"])
	c.mu.Unlock()
	require.Equal(t, int32(1), asked.Load())
	events, err := c.db.Events(t.Context(), i.ID, 0, 10_000)
	require.NoError(t, err)
	told := 0
	for _, e := range events {
		if e.Kind == ops.EventApprovalDecided && e.Actor == ops.GatekeeperActor && strings.Contains(string(e.Data), "it counts processors") {
			told++
		}
	}
	require.Equal(t, 1, told)
	for chain, action := range map[string]string{"api": "approval.review", "proxy": "llm.intent"} {
		records, err := c.db.Audit(t.Context(), chain, 0, 1000)
		require.NoError(t, err)
		found := 0
		for _, r := range records {
			if r.Actor == ops.GatekeeperActor && r.Action == action {
				found++
			}
		}
		require.NotZero(t, found, chain)
	}
}

package proxy

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// The review of an asked call has a token of its own: it opens the provider of
// the review, for as long as that lasts, and the audit says whose it was.
func TestReviewToken(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+realKey {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte("{}"))
	})
	w := newWorld(t, up.URL, nil, nil)
	gateway, err := postgres.Open(t.Context(), postgres.Config{URL: w.urls.Gateway})
	require.NoError(t, err)
	t.Cleanup(gateway.Close)
	now := time.Now().UTC()
	_, err = gateway.AskApproval(t.Context(), ops.Approval{ID: ops.NewID(), RunID: w.run, CallID: "c1", IncidentID: w.incident, Requester: "user:ann", Tool: "ssh_execute",
		Arguments: []byte(`{}`), Subject: []byte("s"), Digest: []byte("d"), Risk: ops.RiskMedium, Effect: "changes", Needed: 1, CreatedAt: now, ExpiresAt: now.Add(time.Hour)},
		ops.AuditRecord{Chain: "gateway", Action: "approval.requested", At: now})
	require.NoError(t, err)
	_, err = w.api.PutGatekeeper(t.Context(), ops.Gatekeeper{Enabled: true, Threshold: ops.RiskLow, Effects: []string{"changes"}, Tools: []string{"*"}, Hourly: 10})
	require.NoError(t, err)
	token := ops.NewToken(ops.ProxyTokenPrefix)
	with := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.Reveal()) }
	status, _ := w.answer(with)
	require.Equal(t, http.StatusUnauthorized, status, "nothing is reviewed yet")
	task, err := w.api.ClaimReview(t.Context(), ops.HashToken(token), time.Minute)
	require.NoError(t, err)
	require.NotNil(t, task)
	status, body := w.answer(with)
	require.Equal(t, http.StatusOK, status, body)
	status, _ = w.answer(func(r *http.Request) {
		with(r)
		r.URL.Path = "/llm/" + ops.NewID() + "/chat/completions"
	})
	require.Equal(t, http.StatusForbidden, status, "it is of one provider")
	_, err = w.api.EndReview(t.Context(), *task, ops.Review{State: ops.ReviewFailed, Reasoning: "x"})
	require.NoError(t, err)
	status, _ = w.answer(with)
	require.Equal(t, http.StatusUnauthorized, status, "it has ended")

	require.Eventually(t, func() bool {
		all, err := w.api.Audit(t.Context(), chain, 0, 100)
		require.NoError(t, err)
		for _, r := range all {
			require.Equal(t, ops.GatekeeperActor, r.Actor)
			require.Empty(t, r.RunID)
		}
		return len(all) >= 3
	}, 10*time.Second, 20*time.Millisecond)
}

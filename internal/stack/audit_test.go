package stack_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/stretchr/testify/require"
)

// TestTheAuditOfAnInvestigation: three processes write three chains. Each verifies
// with the public keys and with the heads that its process has kept, and each call
// has a whole record.
//
// threats: N1
func TestTheAuditOfAnInvestigation(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "two-calls.yaml")
	c.startAll()
	c.alert("DiskFull", "firing", time.Now())
	i := c.concluded()
	keys, err := ops.ParseAuditKeys(c.state.AuditPublic.Reveal())
	require.NoError(t, err)
	for _, chain := range ops.AuditChains {
		var v *ops.AuditVerifier
		require.Eventually(t, func() bool { // each keeps its head after a while
			f, err := os.Open(filepath.Join(c.state.Anchors, chain+".jsonl"))
			require.NoError(t, err)
			heads, err := ops.ReadAuditHeads(f, keys)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			records, err := c.db.Audit(t.Context(), chain, 0, 1000)
			require.NoError(t, err)
			v = ops.NewAuditVerifier(chain, keys, heads)
			require.NoError(t, v.Next(records...))
			require.NoError(t, v.End())
			return v.Records() > 0 && v.Anchored() == v.Records()
		}, time.Minute, 100*time.Millisecond, "chain %s", chain)
		require.Zero(t, v.Unsigned())
	}
	records, err := c.db.Audit(t.Context(), "gateway", 0, 1000)
	require.NoError(t, err)
	intents := 0
	for _, r := range records {
		if r.Action != "tool.intent" {
			continue
		}
		intents++
		require.Equal(t, "run:"+r.RunID, r.Actor)
		require.Equal(t, i.ID, r.Detail["incident"])
		for _, fact := range []string{"agent", "requester", "roles", "tool", "digest", "rule", "policy", "verdict", "latency_us"} {
			require.NotEmpty(t, r.Detail[fact], fact)
		}
	}
	require.Equal(t, 2, intents)
}

package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
)

// TestCompare: what differs, row by row. Times are minutes behind noon; the
// sender is asked at noon and patience is ten minutes.
func TestCompare(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ago := func(minutes float64) time.Time {
		return noon.Add(-time.Duration(minutes * float64(time.Minute)))
	}
	here := func(id string, starts, seen float64) ops.Alert {
		return ops.Alert{ID: id, Identity: "disk", Episode: "disk@" + id, Status: ops.AlertFiring, StartsAt: ago(starts), At: ago(starts), LastSeen: ago(seen)}
	}
	there := func(starts float64, quiet bool) ingest.Listed {
		return ingest.Listed{Alert: ops.Alert{Identity: "disk", Episode: "disk@there", Status: ops.AlertFiring, StartsAt: ago(starts), At: ago(starts)}, Quiet: quiet}
	}
	acked := there(60, false)
	acked.Status = ops.AlertAcknowledged
	for name, tc := range map[string]struct {
		listed  []ingest.Listed
		open    []ops.Alert
		absent  map[string]time.Time
		young   bool // the sender has just started
		missed  int
		acked   int
		ended   map[string]time.Time
		waiting int
	}{
		"nothing":                               {},
		"the same":                              {listed: []ingest.Listed{there(60, false)}, open: []ops.Alert{here("a", 60, 50)}},
		"acknowledged there":                    {listed: []ingest.Listed{acked}, open: []ops.Alert{here("a", 60, 50)}, waiting: 1},
		"acknowledged there for long":           {listed: []ingest.Listed{acked}, open: []ops.Alert{here("a", 60, 50)}, absent: map[string]time.Time{"acknowledged a": ago(20)}, acked: 1},
		"the same, silenced":                    {listed: []ingest.Listed{there(60, true)}, open: []ops.Alert{here("a", 60, 50)}},
		"missed":                                {listed: []ingest.Listed{there(60, false)}, missed: 1},
		"missed, at the edge of patience":       {listed: []ingest.Listed{there(10, false)}, missed: 1},
		"too young to be missed":                {listed: []ingest.Listed{there(9.9, false)}, waiting: 1},
		"silenced, so nothing is missed":        {listed: []ingest.Listed{there(60, true)}},
		"absent for the first time":             {open: []ops.Alert{here("a", 60, 50)}, waiting: 1},
		"absent, and not for long":              {open: []ops.Alert{here("a", 60, 50)}, absent: map[string]time.Time{"a": ago(9.9)}, waiting: 1},
		"absent for long":                       {open: []ops.Alert{here("a", 60, 50)}, absent: map[string]time.Time{"a": ago(20)}, ended: map[string]time.Time{"a": ago(20)}},
		"absent, but told of since":             {open: []ops.Alert{here("a", 60, 15)}, absent: map[string]time.Time{"a": ago(20)}, waiting: 1},
		"absent from one that has just started": {open: []ops.Alert{here("a", 60, 50)}, absent: map[string]time.Time{"a": ago(20)}, young: true},
		"absent, and it began later than that":  {open: []ops.Alert{here("a", 5, 50)}, absent: map[string]time.Time{"a": ago(20)}, ended: map[string]time.Time{"a": ago(5)}},
		"another occurrence, both missed":       {listed: []ingest.Listed{there(20, false)}, open: []ops.Alert{here("a", 60, 50)}, missed: 1, ended: map[string]time.Time{"a": ago(20)}},
		"another start within patience":         {listed: []ingest.Listed{there(45, false)}, open: []ops.Alert{here("a", 60, 50)}},
		"the sender's clock is ahead":           {listed: []ingest.Listed{there(20, false)}, open: []ops.Alert{here("a", 20, 50)}},
		"two here, the older one was replaced": {listed: []ingest.Listed{there(20, false)}, open: []ops.Alert{here("a", 60, 50), here("b", 20, 15)},
			ended: map[string]time.Time{"a": ago(20)}},
		"two here, of two instances": {listed: []ingest.Listed{there(60, false)}, open: []ops.Alert{here("a", 60, 50), here("b", 55, 50)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listing{at: noon, alerts: tc.listed, key: func(a ops.Alert) string { return a.Identity },
				judged: func(ops.Alert) bool { return !tc.young }}
			d := compare(l, tc.open, tc.absent, 10*time.Minute)
			require.Len(t, d.missed, tc.missed, "missed")
			require.Len(t, d.acked, tc.acked, "acknowledged")
			require.Equal(t, tc.waiting, d.waiting, "waiting")
			ended := map[string]time.Time{}
			for _, a := range d.ended {
				require.Equal(t, ops.AlertResolved, a.Status)
				require.False(t, a.At.Before(a.StartsAt), "an end before its beginning")
				ended[a.ID] = a.EndsAt
			}
			if tc.ended == nil {
				tc.ended = map[string]time.Time{}
			}
			require.Equal(t, tc.ended, ended, "ended")
			for id := range d.absent {
				require.NotContains(t, ended, id)
			}
		})
	}
}

// TestRenewed: what ended here and goes on there becomes another episode, once.
func TestRenewed(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	missed := ingest.Listed{Alert: ops.Alert{Identity: "disk", Episode: "disk@1", Status: ops.AlertFiring, At: noon.Add(-time.Hour)}}
	known := func(episode string, status ops.AlertStatus, seen time.Duration) ops.Alert {
		return ops.Alert{Identity: "disk", Episode: episode, Status: status, LastSeen: noon.Add(-seen)}
	}
	renew := func(known ...ops.Alert) ([]ops.Alert, int) {
		d := difference{missed: []ingest.Listed{missed}}
		return d.renewed(known, noon, 10*time.Minute), d.waiting
	}
	got, _ := renew()
	require.Equal(t, []ops.Alert{missed.Alert}, got, "never heard of")
	got, _ = renew(known("disk@0", ops.AlertResolved, time.Hour))
	require.Equal(t, []ops.Alert{missed.Alert}, got, "another occurrence has ended")
	got, waiting := renew(known("disk@1", ops.AlertResolved, time.Minute))
	require.Empty(t, got, "its end is news from there")
	require.Equal(t, 1, waiting)
	got, _ = renew(known("disk@1", ops.AlertFiring, time.Minute))
	require.Empty(t, got, "a delivery was faster")
	got, _ = renew(known("disk@1", ops.AlertResolved, time.Hour))
	require.Len(t, got, 1)
	require.Equal(t, "disk@1~2026-11-21T12:00:00Z", got[0].Episode)
	require.Equal(t, noon, got[0].At, "newer than the end")
	require.Equal(t, "disk@1", episodeThere(got[0]))
}

package api

import (
	"bytes"
	"compress/flate"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// TestWholeOutput: what is kept of a long output is a file for who may read the
// incident, and for nobody else; it is text, whatever it holds.
func TestWholeOutput(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.withProvider()
	i := r.found("Disk full", "The journal.")
	runs, err := r.db.Runs(t.Context(), i.ID)
	require.NoError(t, err)
	other := r.found("Another one", "The other journal.")
	pieces := []string{"<script>alert(1)</script>\n" + strings.Repeat("a line of the log é\n", 5_000), "the end\n"}
	var start, line int64 = 0, 1
	for n, text := range pieces {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.BestSpeed)
		require.NoError(t, err)
		_, err = w.Write([]byte(text))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		lines := strings.Count(text, "\n")
		r.exec(`INSERT INTO evidence (run_id, call_id, n, start, size, line, lines, data) VALUES ($1, 'c1', $2, $3, $4, $5, $6, $7)`,
			runs[0].ID, n, start, len(text), line, lines, b.Bytes())
		start, line = start+int64(len(text)), line+int64(lines)
	}
	path := "/api/v1/incidents/" + i.ID + "/runs/" + runs[0].ID + "/calls/"

	viewer := r.guest("vera", "viewer")
	got := r.send(viewer, "GET", path+"c1/output", nil)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, strings.Join(pieces, ""), got.body)
	require.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"))
	require.Equal(t, `attachment; filename="incident-1-c1.txt"`, got.header.Get("Content-Disposition"))
	require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
	var calls list[ops.ToolCall]
	r.call("GET", "/api/v1/incidents/"+i.ID+"/calls", nil).into(t, &calls)
	require.Equal(t, start, calls.Items[0].Kept)
	var others list[ops.ToolCall]
	r.call("GET", "/api/v1/incidents/"+other.ID+"/calls", nil).into(t, &others)
	require.Zero(t, others.Items[0].Kept)

	require.Equal(t, 401, r.send(browser(t), "GET", path+"c1/output", nil).status)
	require.Equal(t, 403, r.send(r.guest("nobody"), "GET", path+"c1/output", nil).status)
	for name, wrong := range map[string]string{
		"another call":    path + "c2/output",
		"another run":     "/api/v1/incidents/" + i.ID + "/runs/" + ops.NewID() + "/calls/c1/output",
		"another's run":   "/api/v1/incidents/" + other.ID + "/runs/" + runs[0].ID + "/calls/c1/output",
		"not even a run":  "/api/v1/incidents/" + i.ID + "/runs/x/calls/c1/output",
		"a header's name": path + "c1%0d%0aX-Evil:%201/output",
	} {
		got := r.send(viewer, "GET", wrong, nil)
		require.Equal(t, 404, got.status, name+": "+got.body)
		require.Empty(t, got.header.Get("X-Evil"))
	}

	for range cap(r.exports) {
		r.exports <- struct{}{}
	}
	require.Equal(t, 503, r.send(viewer, "GET", path+"c1/output", nil).status)
	for range cap(r.exports) {
		<-r.exports
	}
	require.Equal(t, 200, r.send(viewer, "GET", path+"c1/output", nil).status, "each has given its place back")

	r.exec(`UPDATE evidence SET data = '\x00' WHERE n = 1`)
	_, err = r.try(viewer, "GET", path+"c1/output", nil)
	require.Error(t, err, "half of it does not look like all")
}

package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/akmatori/akmatori/internal/ops"
)

// maxOutput is how much of one output is sent, in bytes: what the gateway keeps
// of one at most.
const maxOutput = 128 << 20

// outputName is what a call may be called in the name of a file.
var outputName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

type callPath struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Run  string `path:"run" maxLength:"36" doc:"The id of one of its investigations."`
	Call string `path:"call" maxLength:"64" doc:"The id of one of its tool calls."`
}

func (s *API) outputOperations(api huma.API) {
	const path = "/incidents/{id}/runs/{run}/calls/{call}/output"
	handle(s, api, operation{id: "get-call-output", method: http.MethodGet, path: path, tag: "incidents",
		summary: "The whole output of a tool call whose result has only a part of it, as far as it is kept"}, s.wholeOutput)
	api.OpenAPI().Paths["/api/v1"+path].Get.Responses["200"].Content = map[string]*huma.MediaType{
		"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}
}

// wholeOutput sends an output as a file, one stored piece after the other. It was
// stripped and redacted before it was stored, but it is what a host has said: a
// browser is told to keep it as a file and to take it for nothing but text. Code
// not found: the run is not of that incident, or no more is kept than the result.
func (s *API) wholeOutput(ctx context.Context, _ caller, in *callPath) (*huma.StreamResponse, error) {
	i, err := s.incident(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	runs, err := s.db.Runs(ctx, i.ID)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(runs, func(r ops.Run) bool { return r.ID == in.Run }) || !outputName.MatchString(in.Call) {
		return nil, ops.Errorf(ops.CodeNotFound, "there is no such call")
	}
	chunks, err := s.db.Evidence(ctx, in.Run, in.Call)
	if err != nil {
		return nil, err
	}
	if len(chunks) == 0 {
		return nil, ops.Errorf(ops.CodeNotFound, "no more is kept of this call than its result has")
	}
	var size int64
	for n, c := range chunks {
		if size+int64(c.Size) > maxOutput {
			chunks = chunks[:n]
			break
		}
		size += int64(c.Size)
	}
	select {
	case s.exports <- struct{}{}:
	default:
		return nil, &ops.Error{Code: ops.CodeUnavailable, Message: "too many exports are under way", RetryAfter: 10 * time.Second}
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer func() { <-s.exports }()
		r, w := humachi.Unwrap(hctx)
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="incident-%d-%s.txt"`, i.Number, in.Call))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Length", strconv.FormatInt(size, 10)) // so that whoever reads sees an end that came too early
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Time{})
		for _, c := range chunks {
			if err := s.writeChunk(r.Context(), w, rc, in.Run, in.Call, c); err != nil {
				if r.Context().Err() == nil {
					s.log.Warn("an output was not sent to its end", "run", in.Run, "call", in.Call, "err", err)
				}
				return
			}
		}
	}}, nil
}

func (s *API) writeChunk(ctx context.Context, w io.Writer, rc *http.ResponseController, run, call string, c ops.EvidenceChunk) (err error) {
	if c.Data, err = s.db.EvidenceData(ctx, run, call, c.N); err != nil {
		return err
	}
	text, err := c.Text()
	if err != nil {
		return err
	}
	_ = rc.SetWriteDeadline(time.Now().Add(exportWrite))
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return rc.Flush()
}

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/go-chi/chi/v5"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// CallIDKey is the key in a request's _meta under which an agent names its call.
const CallIDKey = "akmatori/call"

var callIDPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

const (
	maxBody      = 1 << 20
	writeTimeout = 30 * time.Second // of one write to a client
)

// methods that a run may use. The rest of MCP (subscriptions, logging, tasks, …)
// would keep state per client, and a run needs none.
var methods = []string{"initialize", "ping", "server/discover", "tools/list", "tools/call"}

// holder is who a request comes from; the middleware puts it into the context,
// which is the only way through the MCP library.
type holder struct {
	grant   postgres.Grant
	found   found
	guess   *guess // nil if the grant was looked up for this request
	set     *toolSet
	request string // its id in JSON-RPC
}

type holderKey struct{}

func (g *Gateway) routes() http.Handler {
	r := chi.NewRouter()
	r.With(g.authenticate).Post("/mcp", func(w http.ResponseWriter, r *http.Request) {
		if h, ok := r.Context().Value(holderKey{}).(holder); ok {
			h.set.handler.ServeHTTP(w, r)
		}
	})
	return r
}

// authenticate lets a request through that carries the token of a run that
// runs, or one that was issued for itself and lives, and reads its body.
func (g *Gateway) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// No browser has business here, and a page must not talk to us from one.
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
				g.refuse(w, http.StatusForbidden, "origin", "requests from other origins are refused")
				return
			}
		}
		if rebound(r) {
			g.refuse(w, http.StatusForbidden, "host", "requests for other hosts are refused")
			return
		}
		token, ok := ops.Bearer(r.Header.Get("Authorization"))
		if !ok || !strings.HasPrefix(token, ops.GatewayTokenPrefix) && !strings.HasPrefix(token, ops.ClientTokenPrefix) || len(r.Header.Values("Authorization")) != 1 {
			g.admit(w, r, ops.Errorf(ops.CodeUnauthenticated, wantToken))
			return
		}
		arrived, hash := time.Now(), ops.HashToken(ops.NewSecret(token))
		// Whose token is not known by sight shows nothing before it is.
		if _, err := g.grant(r.Context(), hash, arrived.Add(-knownFor)); !g.admit(w, r, err) {
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				g.refuse(w, http.StatusRequestEntityTooLarge, "body", fmt.Sprintf("a request has at most %d bytes", maxBody))
			} else {
				g.refuse(w, http.StatusBadRequest, "body", "the body could not be read")
			}
			return
		}
		m, ok := readMessage(body)
		if !ok {
			g.refuse(w, http.StatusBadRequest, "message", "the body is not one JSON-RPC request")
			return
		}
		h := holder{set: g.set.Load(), request: string(m.ID)}
		target := m.target(h.set)
		serve := func(h holder) {
			r := r.WithContext(context.WithValue(r.Context(), holderKey{}, h))
			r.Body = io.NopCloser(bytes.NewReader(body))
			// The library keys what is under way by this; a client must not choose it.
			r.Header.Set("Mcp-Session-Id", h.grant.Holder())
			next.ServeHTTP(newPatient(w, h.guess), r)
		}
		// A call that was allowed before is tried with what was true then. If nothing
		// came of that, or not a start, nobody has seen it: it is asked again, as all
		// others are, with what is true now.
		if guess := g.guess(hash, target); guess != nil {
			known := h
			known.guess, known.grant, known.found = guess, guess.ground.Grant, found{target, guess.ground.Way}
			serve(known)
			if guess.proven.Load() {
				return
			}
		}
		if h.grant, h.found, err = g.grantOf(r.Context(), hash, m.Method, target, arrived); !g.admit(w, r, err) {
			return
		}
		if done := g.screen(w, r, h, m); done {
			return
		}
		serve(h)
	})
}

// rebound says whether a request came over this machine's own loopback under a
// name of elsewhere, as from a page whose name was made to mean us.
func rebound(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && loopback(local.String()) && !loopback(r.Host)
}

func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// idle says whether a message is a ping of a revision of MCP that has it, with
// nothing that the library would have to judge: clients ask often whether they
// are still connected, and the library does for it all that it does for a call.
func idle(r *http.Request, m message) bool {
	version := r.Header.Get(mcp.HeaderProtocolVersion)
	return m.Method == "ping" && m.Version == mcp.JSONRPC_VERSION && len(m.Params.Meta) == 0 &&
		len(m.ID) > 0 && strings.IndexByte(`"-0123456789`, m.ID[0]) >= 0 && r.Header.Get("Content-Type") == "application/json" &&
		(version == "" || mcp.IsValidProtocolVersion(version) && !mcp.IsModernProtocol(version))
}

// screen answers what the library is not to see. A notification that cancels a
// request is obeyed here: the library would look the request up among those of
// all holders.
func (g *Gateway) screen(w http.ResponseWriter, r *http.Request, h holder, m message) (done bool) {
	switch {
	case strings.HasPrefix(m.Method, "notifications/"):
		if m.Method == "notifications/cancelled" && len(m.Params.RequestID) > 0 {
			g.running.cancelAsked(h.grant.Holder(), string(m.Params.RequestID), ops.Errorf(ops.CodeUnavailable, "the client cancelled it"))
		}
		w.WriteHeader(http.StatusAccepted)
		return true
	case idle(r, m):
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{}}`, m.ID)
		return true
	case !slices.Contains(methods, m.Method):
		g.metrics.refused.WithLabelValues("method").Inc()
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Mcp-Protocol-Version") >= "2026-07-28" { // as that revision of MCP wants it
			w.WriteHeader(http.StatusNotFound)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": m.ID,
			"error": map[string]any{"code": mcp.METHOD_NOT_FOUND, "message": "there is no such method here"}})
		return true
	case m.Method == "tools/call" && !g.sees(h, m.Params.Name):
		if err := g.unseen(r.Context(), h, m.Params.Name); err != nil {
			g.log.Error("a call of a hidden tool is not recorded", "err", err)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the call cannot be recorded now", http.StatusServiceUnavailable)
			return true
		}
	}
	return false
}

// patient clears the server's deadlines for a request that may take long, and
// gives each write its own. What is written to a guess that is not proven is lost.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	header  http.Header
	guess   *guess
	begun   bool
}

func newPatient(w http.ResponseWriter, of *guess) *patient {
	p := &patient{ResponseWriter: w, control: http.NewResponseController(w), header: http.Header{}, guess: of}
	// A read deadline would end the request's context when it passes.
	_ = p.control.SetReadDeadline(time.Time{})
	_ = p.control.SetWriteDeadline(time.Time{})
	return p
}

func (p *patient) lost() bool { return p.guess != nil && !p.guess.proven.Load() }

// Header implements [http.ResponseWriter].
func (p *patient) Header() http.Header { return p.header }

// WriteHeader implements [http.ResponseWriter].
func (p *patient) WriteHeader(status int) {
	if p.lost() || p.begun {
		return
	}
	p.begun = true
	maps.Copy(p.ResponseWriter.Header(), p.header)
	p.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (p *patient) Write(b []byte) (int, error) {
	if p.lost() {
		return len(b), nil
	}
	p.WriteHeader(http.StatusOK)
	_ = p.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	return p.ResponseWriter.Write(b)
}

// Flush implements [http.Flusher], which is how the library knows that it can stream.
func (p *patient) Flush() {
	if !p.lost() {
		_ = p.control.Flush()
	}
}

// Unwrap is for [http.ResponseController].
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// visible hides tools that are not for the holder or that any layer of rules
// denies altogether. The library also asks it before a call, so a hidden tool
// answers as one that does not exist.
func (g *Gateway) visible(ctx context.Context, all []mcp.Tool) []mcp.Tool {
	h, ok := ctx.Value(holderKey{}).(holder)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(t mcp.Tool) bool { return !g.sees(h, t.Name) })
}

// sees says whether a tool is there for the holder. One whose rules cannot be
// read sees all: each call is refused, with the reason.
func (g *Gateway) sees(h holder, name string) bool {
	if !h.set.has(h.grant, name) {
		return false
	}
	layers, err := g.layers(h.grant)
	return err != nil || !hidden(layers, name)
}

// unseen records a call of a tool that is not there for the holder, whether it
// is there for others or not: somebody has guessed it, was told of it, or still
// knows it from before. It is answered as every unknown one.
func (g *Gateway) unseen(ctx context.Context, h holder, name string) error {
	g.metrics.refused.WithLabelValues("tool").Inc()
	detail := map[string]string{"agent": h.grant.Agent, "incident": h.grant.IncidentID, "tool": fmt.Sprintf("%.100q", name), "requester": h.grant.Requester}
	if h.grant.TokenID != "" {
		detail["token"] = h.grant.TokenID
	}
	return g.db.AppendAudit(ctx, ops.AuditRecord{Chain: "gateway", At: time.Now().UTC(), Actor: h.grant.Actor, Action: "tool.hidden", Object: "request:" + fmt.Sprintf("%.60q", h.request),
		RunID: h.grant.RunID, Outcome: "denied", Detail: detail})
}

// handle answers one tools/call.
func (g *Gateway) handle(ctx context.Context, m mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	h, ok := ctx.Value(holderKey{}).(holder)
	if !ok {
		return nil, errors.New("no token")
	}
	r := request{grant: h.grant, found: h.found, guess: h.guess, set: h.set, tool: h.set.tools[m.Params.Name], raw: m.Params.RawArguments, id: "m-" + ops.NewID(), asked: h.request}
	var progress mcp.ProgressToken
	if meta := m.Params.Meta; meta != nil {
		progress = meta.ProgressToken
		if id, given := meta.AdditionalFields[CallIDKey]; given {
			s, _ := id.(string)
			if !callIDPattern.MatchString(s) {
				return failed(ops.ToolResult{State: ops.CallFailed, Text: "the call's id must match " + callIDPattern.String()}), nil
			}
			r.id, r.asked = s, ""
		}
	}
	select {
	case <-g.held:
	case <-ctx.Done():
		return nil, errors.New(ops.MessageOf(ctx.Err()))
	}
	result, err := g.await(ctx, r, progress)
	switch ops.CodeOf(err) {
	case "":
		return failed(result), nil
	case ops.CodeConflict:
		return failed(ops.ToolResult{ID: r.id, State: ops.CallFailed, Text: ops.MessageOf(err)}), nil
	default:
		// Not a result: nothing is known to have happened, and the same id may be tried again.
		if ctx.Err() == nil && !errors.Is(err, postgres.ErrStale) {
			g.log.Error("a tool call got no result", "tool", r.tool.Name, "holder", r.grant.Holder(), "call", r.id, "err", err)
		}
		return nil, errors.New(ops.MessageOf(err))
	}
}

// failed makes the library's result; everything but a call that is done is an error there.
func failed(r ops.ToolResult) *mcp.CallToolResult {
	return &mcp.CallToolResult{
		Content:           []mcp.Content{mcp.NewTextContent(r.Text)},
		StructuredContent: r,
		IsError:           r.State != ops.CallDone,
	}
}

// progressEvery is the least time between two pieces of live output.
const progressEvery = 25 * time.Millisecond

// A piece of live output tells when the library writes it. The library writes
// notifications on a goroutine of its own and forgets those that it still has in
// hand when the handler returns, so the handler waits for each.
type piece struct {
	text  string
	taken chan struct{} // holds one
}

// MarshalJSON implements [json.Marshaler].
func (p piece) MarshalJSON() ([]byte, error) {
	select {
	case p.taken <- struct{}{}:
	default:
	}
	return json.Marshal(p.text)
}

// await joins the call, started by this request or another, and waits for its
// end. A guess of another request that came to nothing was no call.
func (g *Gateway) await(ctx context.Context, r request, progress mcp.ProgressToken) (result ops.ToolResult, err error) {
	for {
		result, err = g.join(ctx, r, progress)
		if r.guess != nil || !errors.Is(err, postgres.ErrStale) {
			return result, err
		}
	}
}

func (g *Gateway) join(ctx context.Context, r request, progress mcp.ProgressToken) (ops.ToolResult, error) {
	digest := rawDigest(r.tool, r.raw)
	if args, err := r.tool.Parse(r.raw); err == nil {
		digest = r.tool.Digest(args)
	}
	joined := make(chan struct{})
	e, first, err := g.running.enter(callKey{r.grant.Holder(), r.id}, r.asked, digest, func(ctx context.Context, e *entry) (ops.ToolResult, error) {
		<-joined // so that its first reader misses nothing
		return g.perform(ctx, r, e.live)
	})
	if err != nil {
		return ops.ToolResult{}, err
	}
	if !first && r.guess != nil {
		return ops.ToolResult{}, postgres.ErrStale // what another call gives is not for a guess
	}
	var live *reader
	var wake <-chan struct{}
	if progress != nil {
		live = e.follow()
		defer e.unfollow(live)
		wake = live.wake
	}
	close(joined)
	sent := 0.0
	send := func() {
		text := live.take()
		if text == "" {
			return
		}
		sent += float64(len(text))
		p := piece{text, make(chan struct{}, 1)}
		if err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress",
			map[string]any{"progressToken": progress, "progress": sent, "message": p}); err != nil {
			return
		}
		select {
		case <-p.taken:
		case <-ctx.Done():
		case <-time.After(writeTimeout):
		}
	}
	for {
		select {
		case <-e.done:
			if live != nil {
				send()
			}
			return e.result, e.err
		case <-ctx.Done():
			return ops.ToolResult{}, ctx.Err()
		case <-wake:
			send()
			select {
			case <-time.After(progressEvery):
			case <-e.done:
			case <-ctx.Done():
			}
		}
	}
}

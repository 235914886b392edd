package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	mcpclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

const (
	// callMeta is the key of a call's id in the request's _meta.
	callMeta = "akmatori/call"
	// maxResult bounds the text that is kept of one result.
	maxResult = 256 << 10
	// maxResponse bounds one response of the gateway, live output included: the
	// library reads without a limit.
	maxResponse = 64 << 20
	// maxInternal bounds the tries after an internal error of the gateway.
	maxInternal = 4
)

// errDeadToken says that the gateway no longer knows the run's token.
var errDeadToken = errors.New("the gateway refused the run's token")

// toolName is what vendors accept as a tool's name.
var toolName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// gateway is the run's way to tools. Each call is tried until it has an answer,
// the token is refused or the context ends.
type gateway struct {
	url     string
	http    *http.Client
	backoff time.Duration
	log     *slog.Logger
	// away is told once for each time that the gateway is lost.
	away func(error)

	mu      sync.Mutex
	client  *mcpclient.Client       // nil until connected
	running map[string]func(string) // live output by call id
}

func newGateway(url string, token ops.Secret, backoff time.Duration, log *slog.Logger, away func(error)) *gateway {
	return &gateway{
		url: url, backoff: backoff, log: log, away: away,
		http: &http.Client{
			Transport: gatewayTransport{token: token, next: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
				MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second,
			}},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		running: map[string]func(string){},
	}
}

func (g *gateway) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		_ = g.client.Close()
	}
	g.http.CloseIdleConnections()
}

// gatewayTransport adds the token, bounds what comes back, and makes errors of
// statuses that the MCP library would take for answers: it reads any JSON
// body of a failed request as a JSON-RPC response.
type gatewayTransport struct {
	token ops.Secret
	next  *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t gatewayTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token.Reveal())
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		err = errDeadToken
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusForbidden,
		resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout:
		err = fmt.Errorf("the gateway answered with HTTP %d", resp.StatusCode)
	}
	if err != nil {
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		_ = resp.Body.Close()
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxResponse)
	return resp, nil
}

// CloseIdleConnections lets [http.Client] pass it on.
func (t gatewayTransport) CloseIdleConnections() { t.next.CloseIdleConnections() }

// connected gives the client, connected. Connecting says who we are; the
// gateway keeps nothing of it.
func (g *gateway) connected(ctx context.Context) (*mcpclient.Client, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		return g.client, nil
	}
	tr, err := transport.NewStreamableHTTP(g.url, transport.WithHTTPBasicClient(g.http),
		transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	c := mcpclient.NewClient(tr)
	c.OnNotification(g.notified)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	req := mcp.InitializeRequest{}
	req.Params.ClientInfo = mcp.Implementation{Name: "akmatori-agent", Version: "1"}
	if _, err := c.Initialize(ctx, req); err != nil {
		return nil, err
	}
	g.client = c
	return c, nil
}

// drop forgets a client whose session is gone. It is not closed: that would end
// calls of others that are still under way on it.
func (g *gateway) drop(c *mcpclient.Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client == c {
		g.client = nil
	}
}

// notified hands live output to its call. It blocks while the run's outbox is
// full, and so does the connection that the output comes on.
func (g *gateway) notified(n mcp.JSONRPCNotification) {
	if n.Method != string(mcp.MethodNotificationProgress) {
		return
	}
	token, _ := n.Params.AdditionalFields["progressToken"].(string)
	text, _ := n.Params.AdditionalFields["message"].(string)
	g.mu.Lock()
	output := g.running[token]
	g.mu.Unlock()
	if output != nil && text != "" {
		output(text)
	}
}

// retry does f until it succeeds or will never. An error of the protocol itself
// (no such tool, wrong arguments) is returned; of the way there, tried again.
func (g *gateway) retry(ctx context.Context, f func(*mcpclient.Client) error) error {
	pause, internal, told := g.backoff, 0, false
	for {
		c, err := g.connected(ctx)
		if err == nil {
			if err = f(c); err == nil {
				return nil
			}
		}
		_, broken := errors.AsType[*transport.Error](err)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errDeadToken), errors.Is(err, transport.ErrAuthorizationRequired):
			return errDeadToken
		case errors.Is(err, transport.ErrSessionTerminated):
			g.drop(c)
		case errors.Is(err, mcp.ErrInternalError), errors.Is(err, errUnfinished):
			if internal++; internal >= maxInternal {
				return err
			}
		case c != nil && !broken:
			return err
		}
		g.log.Warn("the gateway does not answer, trying again", "err", err, "pause", pause.String())
		if !told {
			told = true
			g.away(err)
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		pause = min(2*pause, 20*g.backoff)
	}
}

// tools lists what the run may call, in the form that the model wants.
func (g *gateway) tools(ctx context.Context) ([]llm.Tool, error) {
	var list *mcp.ListToolsResult
	err := g.retry(ctx, func(c *mcpclient.Client) (err error) {
		list, err = c.ListTools(ctx, mcp.ListToolsRequest{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tools: %w", err)
	}
	var out []llm.Tool
	for _, t := range list.Tools {
		if !toolName.MatchString(t.Name) || t.Name == submitFindings || t.Name == guidanceRead || t.Name == ops.AskAgent || own(t.Name) != nil {
			g.log.Warn("the gateway offers a tool under a name that it cannot have", "tool", t.Name)
			continue
		}
		raw, err := json.Marshal(t)
		if err != nil {
			return nil, fmt.Errorf("tool %s: %w", t.Name, err)
		}
		var schema struct {
			InputSchema json.RawMessage `json:"inputSchema"`
		}
		if err := json.Unmarshal(raw, &schema); err != nil {
			return nil, fmt.Errorf("tool %s: %w", t.Name, err)
		}
		out = append(out, llm.Tool{Name: t.Name, Description: t.Description, Schema: schema.InputSchema})
	}
	return out, nil
}

// errUnfinished says that the gateway answered before the call had ended, as
// when another connection waits for the same call.
var errUnfinished = errors.New("the call has not ended")

// call makes one call under its id. Live output goes to output. The error is
// errDeadToken or the context's; whatever else goes wrong is in the result.
func (g *gateway) call(ctx context.Context, use ops.ToolUse, output func(string)) (ops.ToolResult, error) {
	g.mu.Lock()
	g.running[use.ID] = output
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.running, use.ID)
		g.mu.Unlock()
	}()
	req := mcp.CallToolRequest{}
	req.Params.Name = use.Name
	req.Params.Arguments = use.Arguments
	req.Params.Meta = &mcp.Meta{ProgressToken: use.ID, AdditionalFields: map[string]any{callMeta: use.ID}}
	began := time.Now()
	var out ops.ToolResult
	err := g.retry(ctx, func(c *mcpclient.Client) error {
		res, err := c.CallTool(ctx, req)
		if err != nil {
			return err
		}
		out = readResult(res)
		if !out.State.Final() && out.State != ops.CallWaiting {
			return errUnfinished
		}
		return nil
	})
	switch {
	case errors.Is(err, errDeadToken) || ctx.Err() != nil && err != nil:
		return ops.ToolResult{}, err
	case errors.Is(err, errUnfinished):
		out.State = ops.CallUnknown
	case err != nil:
		g.log.Warn("the gateway refuses a call", "call", use.ID, "tool", use.Name, "err", err)
		out = ops.ToolResult{State: ops.CallFailed, Text: "the call failed: " + err.Error()}
	}
	out.ID = use.ID
	if out.Duration == 0 {
		out.Duration = time.Since(began)
	}
	if cut := headTail(out.Text, maxResult); len(cut) < len(out.Text) {
		out.Truncated += int64(len(out.Text) - len(cut))
		out.Text = cut
	}
	out.Text = ops.Storable(out.Text)
	return out, nil
}

// readResult takes the gateway's own form of a result where there is one, and
// the text contents of any other server.
func readResult(res *mcp.CallToolResult) ops.ToolResult {
	var out ops.ToolResult
	if json.Unmarshal(res.RawStructuredContent, &out) == nil && out.State != "" {
		out.Data = nil // the model reads the text, which says the same
		return out
	}
	var text strings.Builder
	for _, c := range res.Content {
		if t, ok := c.(mcp.TextContent); ok {
			text.WriteString(t.Text)
		}
	}
	out = ops.ToolResult{State: ops.CallDone, Text: text.String()}
	if res.IsError {
		out.State = ops.CallFailed
	}
	return out
}

package tool

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// Limits and times of servers of MCP.
const (
	maxMCPAnswer = 8 << 20 // bytes of one answer, a stream of events included
	maxMCPPages  = 20      // of its list of tools
	maxMCPAsides = 1000    // messages beside an answer
	mcpGoodbye   = 3 * time.Second
)

// mcpVersions are the revisions of MCP with streamable HTTP and sessions, newest
// first: modelcontextprotocol.io/specification.
var mcpVersions = []string{"2025-11-25", "2025-06-18", "2025-03-26"}

// session is one conversation with a server of MCP: it is begun for one call and
// ended behind it, so that calls of different agents share nothing there. A
// request is sent once and never again.
type session struct {
	*Remote
	header   http.Header // of each request, the credential among it
	redactor *Redactor
	last     int // id of the newest request
}

// open begins a session: initialize, and the notification behind it.
func (r *Remote) open(ctx context.Context, c Call) (*session, error) {
	s := &session{Remote: r, header: http.Header{"Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"}, "User-Agent": {"Akmatori"}}}
	var err error
	if s.redactor, err = r.authorize(c.Hops[len(c.Hops)-1], s.header); err != nil {
		return nil, err
	}
	var hello struct {
		Version string `json:"protocolVersion"`
	}
	raw, header, err := s.ask(ctx, "initialize", map[string]any{
		"protocolVersion": mcpVersions[0], "capabilities": map[string]any{}, "clientInfo": map[string]string{"name": "akmatori", "version": "1"},
	}, nil)
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(raw, &hello) != nil || !slices.Contains(mcpVersions, hello.Version) {
		return nil, ops.Errorf(ops.CodeUnavailable, "%s speaks a revision of MCP that is not known here: %s", r.server.Name, oneLine(s.redactor.String(plain.Text(hello.Version)), 40))
	}
	id := header.Get("Mcp-Session-Id")
	if len(id) > 1000 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, ops.Errorf(ops.CodeUnavailable, "%s gives its session an id that is none", r.server.Name)
	}
	if id != "" {
		s.header.Set("Mcp-Session-Id", id)
	}
	s.header.Set("Mcp-Protocol-Version", hello.Version)
	if err := s.tell(ctx, map[string]any{"method": "notifications/initialized"}); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close ends the session there, if it has one. It does not matter to the call.
func (s *session) close() {
	if s.header.Get("Mcp-Session-Id") == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), mcpGoodbye)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.server.URL, http.NoBody)
	if err != nil {
		return
	}
	req.Header = s.header
	if resp, err := s.client.Do(req); err == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		_ = resp.Body.Close()
	}
}

// list gives all tools that the server has.
func (s *session) list(ctx context.Context) ([]toolspec.Offer, error) {
	var all []toolspec.Offer
	params := map[string]any{}
	for range maxMCPPages {
		raw, _, err := s.ask(ctx, "tools/list", params, nil)
		if err != nil {
			return nil, err
		}
		doc, err := toolspec.Decode(raw)
		if err == nil {
			err = toolspec.Plain(doc) // schemas are passed on as they are
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "the list of tools of %s cannot be read", s.server.Name), err)
		}
		var page struct {
			Tools []struct {
				Name        string          `json:"name"`
				Description string          `json:"description"`
				Schema      json.RawMessage `json:"inputSchema"`
			} `json:"tools"`
			Next string `json:"nextCursor"`
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "the list of tools of %s cannot be read", s.server.Name), err)
		}
		for _, t := range page.Tools {
			// A server may quote what was sent to it.
			clean := s.redactor.String
			all = append(all, toolspec.NewOffer(clean(t.Name), clean(t.Description), json.RawMessage(clean(string(t.Schema)))))
		}
		if page.Next == "" {
			return all, nil
		}
		params["cursor"] = page.Next
	}
	return nil, ops.Errorf(ops.CodeTooLarge, "the list of tools of %s does not end", s.server.Name)
}

// content is a part of what a tool gives back.
type content struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Data     string `json:"data"`
	MIMEType string `json:"mimeType"`
	URI      string `json:"uri"`
	Name     string `json:"name"`
	Resource *struct {
		URI      string `json:"uri"`
		MIMEType string `json:"mimeType"`
		Text     string `json:"text"`
		Blob     string `json:"blob"`
	} `json:"resource"`
}

func (c content) String() string {
	switch {
	case c.Type == "text":
		return c.Text
	case c.Type == "resource" && c.Resource != nil && c.Resource.Text != "":
		return fmt.Sprintf("[resource %s]\n%s", oneLine(c.Resource.URI, 500), c.Resource.Text)
	case c.Type == "resource" && c.Resource != nil:
		return fmt.Sprintf("[resource %s: %d bytes of %s, which is not text]", oneLine(c.Resource.URI, 500), len(c.Resource.Blob)/4*3, oneLine(c.Resource.MIMEType, 100))
	case c.Type == "resource_link":
		return fmt.Sprintf("[resource %s: %s]", oneLine(c.Name, 200), oneLine(c.URI, 500))
	}
	return fmt.Sprintf("[%s: %d bytes of %s, which is not text]", oneLine(c.Type, 40), len(c.Data)/4*3, oneLine(c.MIMEType, 100))
}

// call makes one call of a tool. If ctx ends meanwhile, the server is told.
func (s *session) call(ctx context.Context, name string, c Call) (Outcome, error) {
	id := s.last + 1
	raw, _, err := s.ask(ctx, "tools/call", map[string]any{"name": name, "arguments": c.Args, "_meta": map[string]any{"progressToken": id}}, c.Sink.Live)
	if err != nil {
		if ctx.Err() != nil {
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), mcpGoodbye)
			defer cancel()
			_ = s.tell(after, map[string]any{"method": "notifications/cancelled", "params": map[string]any{"requestId": id, "reason": "the call was stopped"}})
		}
		return Outcome{}, err
	}
	var result struct {
		Content    []content       `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
		IsError    bool            `json:"isError"`
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s answers the call with something that is no result", s.server.Name), err)
	}
	out := NewOutput(s.redactor, Sink{Keep: c.Sink.Keep}) // its progress was live
	for _, part := range result.Content {
		text := strings.TrimSuffix(part.String(), "\n")
		_, _ = out.stdout().Write([]byte(text + "\n"))
	}
	done := Outcome{}
	if v, err := toolspec.Decode(result.Structured); err == nil && v != nil {
		v = scrub(s.redactor, v)
		if len(result.Content) == 0 {
			_, _ = out.stdout().Write([]byte(legible(v)))
		}
		done.Data = dataOf(v)
	}
	closed := out.Close()
	closed.Data = done.Data
	if result.IsError {
		closed.Stopped = "the tool reports an error"
	}
	return closed, nil
}

// tell sends a message that has no answer.
func (s *session) tell(ctx context.Context, message map[string]any) error {
	message["jsonrpc"] = "2.0"
	resp, err := s.post(ctx, message, false)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	return resp.Body.Close()
}

// post sends one message and gives the answer, whose status is a good one. acts
// says that the message may change something there.
func (s *session) post(ctx context.Context, message any, acts bool) (*http.Response, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("a message to %s: %w", s.server.Name, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("the address of %s: %w", s.server.Name, err)
	}
	req.Header = s.header.Clone()
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, s.explain(err, acts)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode < 400:
		return nil, ops.Errorf(ops.CodeUnavailable, "%s sends us elsewhere (HTTP %d), and redirects are not followed", s.server.Name, resp.StatusCode)
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return nil, ops.Errorf(ops.CodeForbidden, "%s refuses the request (HTTP %d): its credential may not do this, or has ended", s.server.Name, resp.StatusCode)
	}
	return nil, ops.Errorf(ops.CodeUnavailable, "%s answers with HTTP %d", s.server.Name, resp.StatusCode)
}

// message is one of JSON-RPC: an answer to us, or what the server says beside it.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Message string `json:"message"`
	} `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// ask makes one request and waits for its answer, in a body or in a stream of
// events. The server's progress goes to live.
func (s *session) ask(ctx context.Context, method string, params any, live func(string)) (json.RawMessage, http.Header, error) {
	s.last++
	id := fmt.Sprint(s.last)
	resp, err := s.post(ctx, map[string]any{"jsonrpc": "2.0", "id": s.last, "method": method, "params": params}, method == "tools/call")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, nil, s.explain(errEncoded, true)
	}
	answers := bodies(resp)
	for range maxMCPAsides {
		raw, err := answers()
		if errors.Is(err, io.EOF) {
			return nil, nil, ops.Errorf(ops.CodeUnavailable, "%s has not answered %s; whether it did what was asked is not known", s.server.Name, method)
		}
		if err != nil {
			return nil, nil, s.explain(err, true)
		}
		var m message
		if _, err := toolspec.Decode(raw); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s does not answer as MCP", s.server.Name), err)
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s does not answer as MCP", s.server.Name), err)
		}
		switch {
		case m.Method == "notifications/progress" && live != nil && m.Params.Message != "":
			live(s.redactor.String(plain.Text(m.Params.Message)) + "\n")
		case m.Method != "" && len(m.ID) > 0:
			if err := s.reply(ctx, m); err != nil {
				return nil, nil, err
			}
		case m.Method != "" || string(m.ID) != id: // news, or the answer to something else
		case m.Error != nil:
			return nil, nil, ops.Errorf(ops.CodeInvalid, "%s refuses %s: %s", s.server.Name, method, oneLine(s.redactor.String(plain.Text(m.Error.Message)), 1000))
		case m.Result == nil:
			return nil, nil, ops.Errorf(ops.CodeUnavailable, "%s does not answer as MCP", s.server.Name)
		default:
			return m.Result, resp.Header, nil
		}
	}
	return nil, nil, ops.Errorf(ops.CodeTooLarge, "%s says too much beside its answer", s.server.Name)
}

// reply answers what a server asks us: that we are there, and nothing else. It
// gets no model, no files and nobody to talk to.
func (s *session) reply(ctx context.Context, m message) error {
	answer := map[string]any{"jsonrpc": "2.0", "id": m.ID}
	if m.Method == "ping" {
		answer["result"] = map[string]any{}
	} else {
		answer["error"] = map[string]any{"code": -32601, "message": "there is no such method here"}
	}
	resp, err := s.post(ctx, answer, false)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	return resp.Body.Close()
}

// bodies gives the messages of an answer one after the other, then [io.EOF].
func bodies(resp *http.Response) func() ([]byte, error) {
	limited := io.LimitReader(resp.Body, maxMCPAnswer+1)
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "text/event-stream" {
		read := false
		return func() ([]byte, error) {
			if read {
				return nil, io.EOF
			}
			read = true
			body, err := io.ReadAll(limited)
			if err == nil && len(body) > maxMCPAnswer {
				err = tooMuch()
			}
			return body, err
		}
	}
	lines := bufio.NewReader(limited)
	size := 0
	return func() ([]byte, error) { return event(lines, &size) }
}

func tooMuch() error {
	return ops.Errorf(ops.CodeTooLarge, "the answer is larger than %d MiB: ask for less", maxMCPAnswer>>20)
}

// event reads the data of the next event of a stream (html.spec.whatwg.org,
// server-sent events).
func event(lines *bufio.Reader, size *int) ([]byte, error) {
	var data []byte
	for {
		line, err := lines.ReadBytes('\n')
		if *size += len(line); *size > maxMCPAnswer {
			return nil, tooMuch()
		}
		if err != nil {
			return nil, err // an event without its end is none
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 && data != nil {
			return data, nil
		}
		if rest, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, bytes.TrimPrefix(rest, []byte(" "))...)
			if data == nil {
				data = []byte{}
			}
		}
	}
}

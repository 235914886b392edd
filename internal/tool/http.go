package tool

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// HTTPTool makes a tool of a declared request. The definition was checked.
func HTTPTool(r *Remote, d ops.ServerTool) (Tool, error) {
	name, err := toolspec.Name(r.server.Name, d.Name)
	if err != nil {
		return Tool{}, err
	}
	h := *d.HTTP
	t := Tool{Name: name, Description: h.Description, Mutates: d.Mutates, Command: d.Shell(), Plain: d.Command == ops.NoCommand, Remote: r}
	for _, p := range h.Params {
		low, high := toolspec.Bounds(p)
		f := Field{Name: p.Name, Type: FieldType(p.Type), Required: p.Required, Description: p.Description, Enum: p.Enum}
		if f.Pattern, err = toolspec.Pattern(p); err != nil {
			return Tool{}, fmt.Errorf("parameter %s: %w", p.Name, err)
		}
		switch f.Type {
		case String:
			f.MaxLength = toolspec.Length(p)
		case Strings:
			f.MaxLength, f.MaxItems = toolspec.Length(p), toolspec.Items(p)
		case Integer:
			f.Min, f.Max = low, high
		case Boolean, Object:
		}
		t.Fields = append(t.Fields, f)
	}
	t.Limit = func(Args) time.Duration { return time.Duration(toolspec.Seconds(h)) * time.Second }
	t.Run = func(ctx context.Context, c Call) (Outcome, error) {
		c.Args = t.canonical(c)
		return r.request(ctx, c, h)
	}
	return t.defined(d)
}

// canonical gives the arguments of a call with the command as it was judged.
func (t Tool) canonical(c Call) Args {
	if _, given := c.Args[t.Command]; t.Command == "" || !given {
		return c.Args
	}
	args := maps.Clone(c.Args)
	args[t.Command] = c.Command
	return args
}

// defined gives the tool its definition: the whole of what it is and where.
func (t Tool) defined(d ops.ServerTool) (Tool, error) {
	d.Offered, d.AcceptedBy, d.Problem = nil, "", ""
	s := t.Remote.server
	text, err := json.Marshal([]any{d, s.URL, s.CA, s.Header, s.AllowHTTP, s.AllowPrivate})
	if err != nil {
		return Tool{}, fmt.Errorf("definition of %s: %w", t.Name, err)
	}
	sum := sha256.Sum256(text)
	t.definition = sum[:]
	return t, nil
}

// request does a declared request and reads its answer.
func (r *Remote) request(ctx context.Context, c Call, h ops.HTTPTool) (Outcome, error) {
	spec, err := toolspec.Build(r.server, h, c.Args)
	if err != nil {
		return Outcome{}, err
	}
	req, err := http.NewRequestWithContext(ctx, spec.Method, spec.URL, strings.NewReader(spec.Body)) // an empty one is no body
	if err != nil {
		return Outcome{}, fmt.Errorf("the request to %s: %w", r.server.Name, err)
	}
	req.Header = spec.Header
	redactor, err := r.authorize(c.Hops[len(c.Hops)-1], req.Header)
	if err != nil {
		return Outcome{}, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return Outcome{}, r.explain(err, !toolspec.Reads(h.Method))
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified:
		return Outcome{}, ops.Errorf(ops.CodeUnavailable, "%s sends us elsewhere (HTTP %d), and redirects are not followed", r.server.Name, resp.StatusCode)
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		// Not what it says: that may quote what was sent.
		return Outcome{}, ops.Errorf(ops.CodeForbidden, "%s refuses the request (HTTP %d): its credential may not do this, or has ended", r.server.Name, resp.StatusCode)
	}
	answer, err := r.read(resp, toolspec.Bytes(h))
	if err != nil {
		return Outcome{}, r.explain(err, !toolspec.Reads(h.Method))
	}
	return r.answer(c, h, resp, answer, redactor)
}

// answer makes of an answer what a model can read.
func (r *Remote) answer(c Call, h ops.HTTPTool, resp *http.Response, body []byte, redactor *Redactor) (Outcome, error) {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	ok := resp.StatusCode < 300
	var text string
	var data json.RawMessage
	switch v, err := decodeJSON(media, body); {
	case err == nil && ok:
		if v, err = toolspec.Select(h, v); err != nil {
			return Outcome{}, err
		}
		v = scrub(redactor, v)
		text, data = legible(v), dataOf(v)
	case err == nil:
		text = legible(scrub(redactor, v))
	case ok && h.Pointer != "":
		return Outcome{}, fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s does not answer with JSON", r.server.Name), err)
	case !readable(media, body):
		text = fmt.Sprintf("[%d bytes of %s, which is not text]\n", len(body), oneLine(plain.Text(media), 100))
	default:
		text = string(body)
	}
	// Its parts were scrubbed one by one; this does what was no JSON, and bounds the whole.
	out := NewOutput(redactor, c.Sink)
	_, _ = fmt.Fprintf(out.stdout(), "HTTP %d %s\n", resp.StatusCode, http.StatusText(resp.StatusCode))
	for _, name := range []string{"Last-Modified", "Etag", "Content-Length"} {
		if v := resp.Header.Get(name); h.Method == http.MethodHead && v != "" {
			_, _ = fmt.Fprintf(out.stdout(), "%s: %s\n", name, oneLine(v, 200))
		}
	}
	_, _ = out.stdout().Write([]byte(text))
	done := out.Close()
	done.Data = data
	if !ok {
		done.Stopped = fmt.Sprintf("%s answers with HTTP %d", r.server.Name, resp.StatusCode)
	}
	return done, nil
}

// decodeJSON reads an answer that says it is JSON, or looks so and says nothing.
func decodeJSON(media string, body []byte) (any, error) {
	if media != "" && media != "application/json" && !strings.HasSuffix(media, "+json") && media != "text/plain" {
		return nil, fmt.Errorf("it is of type %s", media)
	}
	return toolspec.Decode(body)
}

// readable says whether a body is a text.
func readable(media string, body []byte) bool {
	kinds := []string{"text/", "application/json", "application/xml", "application/yaml", "application/x-yaml", "application/javascript", "application/x-ndjson"}
	if media != "" && !slices.ContainsFunc(kinds, func(k string) bool { return strings.HasPrefix(media, k) }) && !strings.HasSuffix(media, "+json") && !strings.HasSuffix(media, "+xml") {
		return false
	}
	return utf8.Valid(body)
}

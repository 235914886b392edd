package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
	"github.com/akmatori/akmatori/internal/reach"
)

// prefix is where models are.
const prefix = "/llm/"

// chain is the audit chain that this process writes.
const chain = "proxy"

// kinds says, for each kind of provider, which one path below its base URL an
// agent may POST to, with which query and body, and how the key is put into a
// request.
func kinds() map[string]kind {
	chat := kind{
		path:   func(string) string { return "/chat/completions" },
		inject: func(h http.Header, key string) { h.Set("Authorization", "Bearer "+key) },
		body:   compatibleShape,
	}
	return map[string]kind{
		"openai":            {path: func(string) string { return "/responses" }, inject: chat.inject, body: responsesShape},
		"openai-compatible": chat,
		"openrouter":        {path: chat.path, inject: chat.inject, body: openRouterShape},
		"anthropic": {
			path:   func(string) string { return "/v1/messages" },
			inject: func(h http.Header, key string) { h.Set("X-Api-Key", key) },
			body:   anthropicShape,
		},
		"google": {
			path: func(model string) string {
				return "/v1beta/models/" + strings.TrimPrefix(model, "models/") + ":streamGenerateContent"
			},
			query:  "alt=sse",
			inject: func(h http.Header, key string) { h.Set("X-Goog-Api-Key", key) },
			body:   googleShape,
		},
	}
}

type kind struct {
	path   func(model string) string // for the model of the provider
	query  string
	inject func(http.Header, string)
	body   func() shape
}

// credentialHeaders are where the vendors' own clients put a key, and so where a
// run's token comes from: from one of them, once.
var credentialHeaders = []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"}

// Headers that pass. Everything else stays behind: on the way out that is every
// credential and every hop-by-hop or proxy header, on the way back every cookie.
var (
	requestHeaders  = []string{"Accept", "Anthropic-Version", "Idempotency-Key"}
	responseHeaders = []string{"Content-Type", "Openai-Processing-Ms", "Request-Id", "Retry-After", "Retry-After-Ms", "X-Request-Id", "X-Should-Retry"}
)

// refusal is an answer of the proxy's own. Reason is what the agent reads.
type refusal struct {
	status int
	reason string
	cause  error  // for the log
	code   string // for the agent's program, where the status does not say it
}

// keyRefused is the code of what the provider said of the key (package llm
// tells it from what the proxy says of the token).
const keyRefused = "provider_auth"

func (r *refusal) Error() string { return r.reason }
func (r *refusal) Unwrap() error { return r.cause }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, reason: fmt.Sprintf(format, args...)}
}

// because is a refusal with its cause.
func because(err error, status int, reason string) *refusal {
	return &refusal{status: status, reason: reason, cause: err}
}

// exchange is one request and what is known of it so far.
type exchange struct {
	grant      postgres.RunGrant
	path       string // below the base URL
	provider   ops.Provider
	credential ops.Credential
	intended   bool // the audit has the intent
	sent       int  // bytes of the request
	upstream   int  // status of the provider
	status     int  // status that went to the agent, 0 if none has
	received   int64
}

// serveLLM forwards a request and tells how it went: to the audit, to the
// metrics, to the log and, if nothing has been sent yet, to the agent.
func (p *Proxy) serveLLM(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	x := &exchange{}
	err := p.forward(w, r, x)
	cut := err != nil && x.status != 0
	no := asRefusal(err)
	if err != nil && !cut {
		x.status = no.status
	}
	p.requests.WithLabelValues(strconv.Itoa(x.status)).Inc()
	p.seconds.Observe(time.Since(started).Seconds())
	// The request may be over, but what it did must still be written.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 5*time.Second)
	defer cancel()
	if auditErr := p.auditEnd(ctx, x, no, time.Since(started)); auditErr != nil {
		p.log.Error("the outcome of a request is not in the audit", "run", x.grant.RunID, "status", x.status, "err", auditErr)
	}
	if err == nil {
		return
	}
	p.log.Warn("an agent's request failed", "run", x.grant.RunID, "provider", x.provider.Name, "status", x.status, "cut", cut,
		"reason", no.reason, "err", no.cause)
	if cut {
		panic(http.ErrAbortHandler) // a clean end would look like a whole answer
	}
	answer(w, no)
}

// forward is the order of the package comment. Its error means no.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, x *exchange) error {
	// 1. token
	token, ok := tokenOf(r)
	if !ok {
		return refuse(http.StatusUnauthorized, "a run's proxy token is required")
	}
	hash := tokenHash(ops.HashToken(token))
	grant, err := p.db.RunByProxyToken(r.Context(), hash[:])
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	x.grant = grant
	ctx, leave, ok := p.live.enter(r.Context(), hash)
	if !ok {
		return refuse(http.StatusTooManyRequests, "the run has %d requests under way already", runStreams)
	}
	defer leave()
	ctx, cancel := context.WithDeadlineCause(ctx, grant.Deadline, errRunEnded)
	defer cancel()

	// 2. provider
	id, route, ok := splitPath(r)
	if !ok {
		return refuse(http.StatusForbidden, "only %s{provider}/{path} is served, in its plain form", prefix)
	}
	x.path = route
	if id != grant.ProviderID && !slices.Contains(grant.Fallbacks, id) {
		return refuse(http.StatusForbidden, "the run is not bound to this provider")
	}
	if x.provider, err = p.db.Provider(ctx, id); err != nil {
		return fmt.Errorf("provider: %w", err)
	}
	if model, ok := grant.Models[id]; ok {
		x.provider.Model = model // which the run was given, whatever it has now
	}

	// 3. method and path
	k, ok := kinds()[x.provider.Kind]
	if !ok || r.Method != http.MethodPost || route != k.path(x.provider.Model) || r.URL.RawQuery != k.query {
		return refuse(http.StatusForbidden, "%s %s is not allowed for this provider", visible(r.Method), visible(route))
	}
	target, err := upstreamURL(x.provider, route, k.query)
	if err != nil {
		return err
	}

	// 4. the request
	body, release, err := p.readBody(w, r, hash)
	if err != nil {
		return err
	}
	defer release()
	x.sent = len(body)
	if err := k.body().look(body, x.provider); err != nil {
		return err
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return because(err, http.StatusForbidden, "the provider's base URL is not usable")
	}
	for _, name := range requestHeaders {
		if v := r.Header.Get(name); v != "" {
			out.Header.Set(name, v)
		}
	}
	out.Header.Set("Content-Type", "application/json") // as it was read here
	out.Header.Set("User-Agent", "akmatori")
	out.Header.Set("Accept-Encoding", "identity")

	// 5. audit
	if err := p.db.AppendAudit(ctx, x.record("llm.intent", "intent", nil)); err != nil {
		return because(err, http.StatusServiceUnavailable, "the audit cannot be written")
	}
	x.intended = true

	// 6. the credential
	key, err := p.openKey(ctx, x)
	if err != nil {
		return err
	}
	if !key.Empty() {
		k.inject(out.Header, key.Reveal())
	}

	// 7. dial
	transport := p.public
	if x.provider.AllowPrivate {
		transport = p.private
	}
	res, err := transport.RoundTrip(out)
	if err != nil {
		return upstreamError(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	x.upstream = res.StatusCode

	// 8. answer
	return relay(ctx, w, res, key, x)
}

// tokenOf takes a run's token from the one header that holds one. What else a
// client sends of its own stays behind like any other header; a header that
// comes twice could be read in two ways.
func tokenOf(r *http.Request) (token ops.Secret, ok bool) {
	for _, name := range credentialHeaders {
		values := r.Header.Values(name)
		if len(values) > 1 {
			return ops.Secret{}, false
		}
		for _, v := range values {
			if scheme, rest, two := strings.Cut(v, " "); two && name == "Authorization" && strings.EqualFold(scheme, "Bearer") {
				v = rest
			}
			if !strings.HasPrefix(v, ops.ProxyTokenPrefix) {
				continue
			}
			if ok || len(v) > 128 {
				return ops.Secret{}, false
			}
			token, ok = ops.NewSecret(v), true
		}
	}
	return token, ok
}

// splitPath takes a request's target apart. Only one spelling of a path is
// accepted, so there is nothing to normalize and nothing to misunderstand. A
// query is there for its kind to judge; no escape is.
func splitPath(r *http.Request) (provider, route string, ok bool) {
	if r.URL.Host != "" || r.URL.ForceQuery || r.URL.RawPath != "" || strings.ContainsAny(r.RequestURI, "%\\#") {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok || path.Clean(r.URL.Path) != r.URL.Path {
		return "", "", false
	}
	provider, route, ok = strings.Cut(rest, "/")
	return provider, "/" + route, ok
}

// upstreamURL is the provider's base URL with the route behind it. A key goes
// over plain HTTP only where an admin has allowed a private address.
func upstreamURL(provider ops.Provider, route, query string) (*url.URL, error) {
	u, err := url.Parse(provider.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "":
		return nil, because(err, http.StatusForbidden, "the provider's base URL is not usable")
	case u.Scheme == "http" && !provider.AllowPrivate:
		return nil, refuse(http.StatusForbidden, "the provider's base URL must be https")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, refuse(http.StatusForbidden, "the provider's base URL must be https")
	}
	u.Path = strings.TrimRight(u.Path, "/") + route
	u.RawQuery = query
	return u, nil
}

// readBody reads the whole body, so that a stale pooled connection can be
// replaced and the request sent again. What it gives besides gives its memory back.
func (p *Proxy) readBody(w http.ResponseWriter, r *http.Request, token tokenHash) (_ []byte, _ func(), err error) {
	size := r.ContentLength
	switch {
	case size > MaxBody:
		return nil, nil, tooLarge(r)
	case size < 0:
		size = MaxBody
	}
	ofRun, ok := p.live.reserve(token, size)
	if !ok {
		return nil, nil, refuse(http.StatusTooManyRequests, "the run's requests under way have %d bytes already", runBodies)
	}
	if !p.bodies.TryAcquire(size) {
		ofRun()
		return nil, nil, refuse(http.StatusServiceUnavailable, "the proxy is full")
	}
	release := func() { p.bodies.Release(size); ofRun() }
	defer func() {
		if err != nil {
			release()
		}
	}()
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		return nil, nil, because(err, http.StatusBadRequest, "the body cannot be read")
	case len(body) > MaxBody:
		return nil, nil, tooLarge(r)
	}
	// The server's timeouts were for the body. A model may think for minutes; what
	// is still to be read is that the agent went away, and each write has its own.
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		return nil, nil, fmt.Errorf("clear the deadlines: %w", err)
	}
	return body, release, nil
}

// tooLarge reads on for a while: a client that is still sending when the
// connection closes never sees why.
func tooLarge(r *http.Request) error {
	_, _ = io.CopyN(io.Discard, r.Body, 2*MaxBody)
	return refuse(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", MaxBody)
}

// openKey opens the provider's key; it is empty for a provider without one.
func (p *Proxy) openKey(ctx context.Context, x *exchange) (ops.Secret, error) {
	if x.provider.Credential == "" {
		return ops.Secret{}, nil
	}
	cred, err := p.db.CredentialByName(ctx, x.provider.Credential)
	if ops.CodeOf(err) == ops.CodeNotFound {
		return ops.Secret{}, refuse(http.StatusForbidden, "the provider's credential is disabled, or is gone")
	}
	if err != nil {
		return ops.Secret{}, fmt.Errorf("credential: %w", err)
	}
	x.credential = cred
	// The list is part of the seal: with a longer one the key does not open.
	if cred.Kind != "llm_key" || !slices.ContainsFunc(cred.Targets, func(glob string) bool {
		ok, err := path.Match(glob, x.provider.Name)
		return ok && err == nil
	}) {
		return ops.Secret{}, refuse(http.StatusForbidden, "the credential is not for this provider")
	}
	key, err := p.keys.Open(cred)
	if err != nil {
		return ops.Secret{}, because(err, http.StatusForbidden, "the provider's credential does not open")
	}
	if strings.ContainsFunc(key.Reveal(), func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return ops.Secret{}, refuse(http.StatusForbidden, "the provider's credential holds control characters")
	}
	return key, nil
}

// relay streams the answer to the agent, each piece as it comes.
func relay(ctx context.Context, w http.ResponseWriter, res *http.Response, key ops.Secret, x *exchange) error {
	switch encoding := res.Header.Get("Content-Encoding"); {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		no := refuse(http.StatusBadGateway, "the provider refused the credential (%d)", res.StatusCode)
		no.code = keyRefused
		return no
	case res.StatusCode < 200 || res.StatusCode >= 300 && res.StatusCode < 400:
		return refuse(http.StatusBadGateway, "the provider answered %d, which is not followed", res.StatusCode)
	case encoding != "" && encoding != "identity":
		return refuse(http.StatusBadGateway, "the provider answered in an encoding that was not asked for")
	}
	out := &flushWriter{w: w, control: http.NewResponseController(w), x: x}
	clean := newScrubber(out, key)
	for _, name := range responseHeaders {
		if v := res.Header.Get(name); v != "" {
			w.Header().Set(name, clean.String(v))
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	x.status = res.StatusCode
	if err := out.start(); err != nil {
		return because(err, 0, "the agent does not read")
	}
	_, err := io.CopyBuffer(onlyWriter{clean}, io.LimitReader(res.Body, MaxAnswer+1), make([]byte, 32<<10))
	if err == nil && x.received > MaxAnswer {
		err = refuse(0, "the answer has more than %d bytes", MaxAnswer)
	}
	if err == nil {
		err = clean.Close()
	}
	if err != nil {
		return upstreamError(ctx, err)
	}
	return nil
}

// flushWriter sends what is written at once and gives the agent writeTime for it.
type flushWriter struct {
	w       io.Writer
	control *http.ResponseController
	x       *exchange
}

func (f *flushWriter) start() error {
	if err := f.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	f.w.(http.ResponseWriter).WriteHeader(f.x.status)
	return f.control.Flush()
}

func (f *flushWriter) Write(b []byte) (int, error) {
	if err := f.control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	n, err := f.w.Write(b)
	f.x.received += int64(n)
	if err != nil {
		return n, err
	}
	return n, f.control.Flush()
}

// onlyWriter hides every other method, so that io.Copy uses its buffer.
type onlyWriter struct{ io.Writer }

// upstreamError says in plain words why there is no answer, or not all of it.
// The text of the cause is for the log: it may name addresses.
func upstreamError(ctx context.Context, err error) error {
	if no, ok := errors.AsType[*refusal](err); ok {
		return no
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errRunEnded):
		return because(err, http.StatusUnauthorized, "the run has ended")
	case errors.Is(cause, errBlind):
		return because(err, http.StatusServiceUnavailable, "the database is away")
	case ctx.Err() != nil:
		return because(err, http.StatusBadGateway, "the request was given up")
	case errors.Is(err, reach.ErrAddress):
		return because(err, http.StatusForbidden, "the provider's address is not allowed")
	case isCertificate(err):
		return because(err, http.StatusBadGateway, "the provider's certificate is not valid")
	case isTimeout(err):
		return because(err, http.StatusBadGateway, "the provider does not answer in time")
	}
	return because(err, http.StatusBadGateway, "the provider cannot be reached or broke off")
}

// asRefusal gives every error a status; nil for nil. What the database says
// becomes one here and nowhere else.
func asRefusal(err error) *refusal {
	if err == nil {
		return nil
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		return no
	}
	switch ops.CodeOf(err) {
	case ops.CodeUnauthenticated:
		return because(err, http.StatusUnauthorized, "the token is not that of a running run")
	case ops.CodeNotFound:
		return because(err, http.StatusForbidden, "the provider or its credential does not exist")
	case ops.CodeUnavailable:
		return because(err, http.StatusServiceUnavailable, "the database is away")
	}
	return because(err, http.StatusInternalServerError, "internal error")
}

// answer writes a refusal in a form that clients of all protocols understand:
// they all look for the message in an object of the name error.
func answer(w http.ResponseWriter, no *refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch no.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "2")
	}
	w.WriteHeader(no.status)
	type inner struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    string `json:"code"`
	}
	type body struct {
		Type  string `json:"type"`
		Error inner  `json:"error"`
	}
	_ = json.NewEncoder(w).Encode(body{"error", inner{no.reason, "akmatori_proxy", cmp.Or(no.code, strconv.Itoa(no.status))}})
}

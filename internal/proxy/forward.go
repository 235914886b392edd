package proxy

import (
	"bytes"
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
)

// prefix is where models are.
const prefix = "/llm/"

// chain is the audit chain that this process writes.
const chain = "proxy"

// kinds says, for each kind of provider, which paths below its base URL an agent
// may POST to and how the key is put into a request.
func kinds() map[string]kind {
	return map[string]kind{
		"openai": {
			paths:  []string{"/chat/completions"},
			inject: func(h http.Header, key string) { h.Set("Authorization", "Bearer "+key) },
		},
	}
}

type kind struct {
	paths  []string
	inject func(http.Header, string)
}

// Headers that pass. Everything else stays behind: on the way out that is every
// credential and every hop-by-hop or proxy header, on the way back every cookie.
var (
	requestHeaders  = []string{"Accept", "Content-Type", "Idempotency-Key"}
	responseHeaders = []string{"Content-Type", "Openai-Processing-Ms", "Retry-After", "Retry-After-Ms", "X-Request-Id", "X-Should-Retry"}
)

// refusal is an answer of the proxy's own. Reason is what the agent reads.
type refusal struct {
	status int
	reason string
	cause  error // for the log
}

func (r *refusal) Error() string { return r.reason }
func (r *refusal) Unwrap() error { return r.cause }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, reason: fmt.Sprintf(format, args...)}
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
	token, ok := bearer(r)
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
	if id != grant.ProviderID {
		return refuse(http.StatusForbidden, "the run is not bound to this provider")
	}
	if x.provider, err = p.db.Provider(ctx, id); err != nil {
		return fmt.Errorf("provider: %w", err)
	}

	// 3. method and path
	k, ok := kinds()[x.provider.Kind]
	if !ok || r.Method != http.MethodPost || !slices.Contains(k.paths, route) {
		return refuse(http.StatusForbidden, "%s %s is not allowed for this provider", visible(r.Method), visible(route))
	}
	target, err := upstreamURL(x.provider, route)
	if err != nil {
		return err
	}

	// 4. the request
	body, release, err := p.readBody(w, r)
	if err != nil {
		return err
	}
	defer release()
	x.sent = len(body)
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return &refusal{http.StatusForbidden, "the provider's base URL is not usable", err}
	}
	for _, name := range requestHeaders {
		if v := r.Header.Get(name); v != "" {
			out.Header.Set(name, v)
		}
	}
	out.Header.Set("User-Agent", "akmatori")
	out.Header.Set("Accept-Encoding", "identity")

	// 5. audit
	if err := p.db.AppendAudit(ctx, x.record("llm.intent", "intent", nil)); err != nil {
		return &refusal{http.StatusServiceUnavailable, "the audit cannot be written", err}
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

// bearer takes the one Authorization header.
func bearer(r *http.Request) (ops.Secret, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ops.Secret{}, false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || !strings.HasPrefix(token, ops.ProxyTokenPrefix) || len(token) > 128 {
		return ops.Secret{}, false
	}
	return ops.NewSecret(token), true
}

// splitPath takes a request's target apart. Only one spelling of a path is
// accepted, so there is nothing to normalize and nothing to misunderstand.
func splitPath(r *http.Request) (provider, route string, ok bool) {
	if r.URL.Host != "" || r.URL.RawQuery != "" || r.URL.ForceQuery || r.URL.RawPath != "" || strings.ContainsAny(r.RequestURI, "%\\#") {
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
func upstreamURL(provider ops.Provider, route string) (*url.URL, error) {
	u, err := url.Parse(provider.BaseURL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "":
		return nil, &refusal{http.StatusForbidden, "the provider's base URL is not usable", err}
	case u.Scheme == "http" && !provider.AllowPrivate:
		return nil, refuse(http.StatusForbidden, "the provider's base URL must be https")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, refuse(http.StatusForbidden, "the provider's base URL must be https")
	}
	u.Path = strings.TrimRight(u.Path, "/") + route
	return u, nil
}

// readBody reads the whole body, so that a stale pooled connection can be
// replaced and the request sent again. release gives its memory back.
func (p *Proxy) readBody(w http.ResponseWriter, r *http.Request) (_ []byte, release func(), err error) {
	size := r.ContentLength
	switch {
	case size > MaxBody:
		return nil, nil, tooLarge(r)
	case size < 0:
		size = MaxBody
	}
	if !p.bodies.TryAcquire(size) {
		return nil, nil, refuse(http.StatusServiceUnavailable, "the proxy is full")
	}
	defer func() {
		if err != nil {
			p.bodies.Release(size)
		}
	}()
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		return nil, nil, &refusal{http.StatusBadRequest, "the body cannot be read", err}
	case len(body) > MaxBody:
		return nil, nil, tooLarge(r)
	}
	// The server's timeouts were for the body. A model may think for minutes; what
	// is still to be read is that the agent went away, and each write has its own.
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		return nil, nil, fmt.Errorf("clear the deadlines: %w", err)
	}
	return body, func() { p.bodies.Release(size) }, nil
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
		return ops.Secret{}, &refusal{http.StatusForbidden, "the provider's credential does not open", err}
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
		return refuse(http.StatusBadGateway, "the provider refused the credential (%d)", res.StatusCode)
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
		return &refusal{0, "the agent does not read", err}
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
		return &refusal{http.StatusUnauthorized, "the run has ended", err}
	case errors.Is(cause, errBlind):
		return &refusal{http.StatusServiceUnavailable, "the database is away", err}
	case ctx.Err() != nil:
		return &refusal{http.StatusBadGateway, "the request was given up", err}
	case errors.Is(err, errAddress):
		return &refusal{http.StatusForbidden, "the provider's address is not allowed", err}
	case isCertificate(err):
		return &refusal{http.StatusBadGateway, "the provider's certificate is not valid", err}
	case isTimeout(err):
		return &refusal{http.StatusBadGateway, "the provider does not answer in time", err}
	}
	return &refusal{http.StatusBadGateway, "the provider cannot be reached or broke off", err}
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
		return &refusal{http.StatusUnauthorized, "the token is not that of a running run", err}
	case ops.CodeNotFound:
		return &refusal{http.StatusForbidden, "the provider or its credential does not exist", err}
	case ops.CodeUnavailable:
		return &refusal{http.StatusServiceUnavailable, "the database is away", err}
	}
	return &refusal{http.StatusInternalServerError, "internal error", err}
}

// answer writes a refusal in the form that clients of the protocol understand.
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
	type body struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    int    `json:"code"`
	}
	_ = json.NewEncoder(w).Encode(map[string]body{"error": {no.reason, "akmatori_proxy", no.status}})
}

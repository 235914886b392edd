package tool

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// Limits and times of Zabbix instances.
const (
	maxZabbixAnswer = 16 << 20
	zabbixIdle      = 10 * time.Minute // then a session is given back
	zabbixVersion   = 10 * time.Minute // then it is asked again
	zabbixPause     = 30 * time.Second // after a refused login; Zabbix blocks who fails five times
	zabbixGoodbye   = 3 * time.Second  // for one logout
)

// Zabbix is the client of all Zabbix instances of the inventory: JSON-RPC 2.0
// over HTTP as of Zabbix 6.0 to 7.x. It keeps their connections and versions
// and, where the credential is a password, one session each, which calls share.
// Another version of a credential, or another address, is another instance, and
// the session of the one before is given back, as is that of a credential that was
// withdrawn. Its methods are safe for
// concurrent use.
type Zabbix struct {
	log *slog.Logger
	wg  sync.WaitGroup

	mu        sync.Mutex
	instances map[string]*instance
	closed    bool
}

// instance is one target with one version of its credential.
type instance struct {
	target     ops.Target
	credential ops.Credential
	client     *http.Client
	idle       *time.Timer

	turn chan struct{} // holds one: who may change the rest
	gone bool          // its session was given back
	// version is that of the API, known since asked.
	version [2]int
	asked   time.Time
	// session is of a password, empty if there is none now, and redactor finds
	// what was opened for it.
	session  ops.Secret
	redactor *Redactor
	// refused is why the newest login failed, at refusedAt.
	refused   error
	refusedAt time.Time
}

// NewZabbix makes a client that knows nobody. [Zabbix.Close] must be called.
func NewZabbix(log *slog.Logger) *Zabbix {
	return &Zabbix{log: log, instances: map[string]*instance{}}
}

// Close gives all sessions back and waits for that, a few seconds at most.
func (z *Zabbix) Close() {
	z.mu.Lock()
	z.closed = true
	for key := range z.instances {
		z.retireLocked(key)
	}
	z.mu.Unlock()
	z.wg.Wait()
}

// instance gives the instance of a target with this version of its credential.
func (z *Zabbix) instance(hop Hop) (*instance, error) {
	t, c := hop.Target, hop.Credential
	identity, _ := json.Marshal([]any{place(t), c.ID, c.Kind, c.Version}) // always marshals
	key := string(identity)
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.closed {
		return nil, ops.Errorf(ops.CodeUnavailable, "the gateway is stopping")
	}
	if i, ok := z.instances[key]; ok {
		i.idle.Reset(zabbixIdle)
		return i, nil
	}
	for other, i := range z.instances {
		if i.target.ID == t.ID {
			z.retireLocked(other)
		}
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 8, MaxConnsPerHost: 16, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if t.CA != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, ops.Errorf(ops.CodeInvalid, "the CA of %s is not a certificate in PEM form", t.Name)
		}
	}
	i := &instance{target: t, credential: c, turn: make(chan struct{}, 1), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	i.idle = time.AfterFunc(zabbixIdle, func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		if z.instances[key] == i {
			z.retireLocked(key)
		}
	})
	z.instances[key] = i
	return i, nil
}

// Targets are the ids of those that there are connections to.
func (z *Zabbix) Targets() []string { return z.ids(func(i *instance) string { return i.target.ID }) }

func (z *Zabbix) ids(of func(*instance) string) (ids []string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, i := range z.instances {
		ids = append(ids, of(i))
	}
	return ids
}

// Keep forgets those of the targets asked about that are not at one of the
// places any more. A call that is under way there may still end.
func (z *Zabbix) Keep(asked, places []string) {
	z.forget(func(i *instance) bool {
		return slices.Contains(asked, i.target.ID) && !slices.Contains(places, Place(i.target))
	})
}

// Version names one version of a credential.
func Version(c ops.Credential) string { return fmt.Sprintf("%s version %d", c.ID, c.Version) }

// Credentials are the ids of those that instances are asked with.
func (z *Zabbix) Credentials() []string {
	return z.ids(func(i *instance) string { return i.credential.ID })
}

// KeepCredentials forgets the instances with another version of the credentials
// asked about than one of those that stand, as [Zabbix.Keep] does.
func (z *Zabbix) KeepCredentials(asked, stand []string) {
	z.forget(func(i *instance) bool {
		return slices.Contains(asked, i.credential.ID) && !slices.Contains(stand, Version(i.credential))
	})
}

func (z *Zabbix) forget(gone func(*instance) bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for key, i := range z.instances {
		if gone(i) {
			z.retireLocked(key)
		}
	}
}

// retireLocked forgets an instance and gives its session back.
func (z *Zabbix) retireLocked(key string) {
	i := z.instances[key]
	delete(z.instances, key)
	i.idle.Stop()
	z.wg.Go(func() {
		defer i.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), zabbixGoodbye)
		defer cancel()
		if i.lock(ctx) != nil {
			return
		}
		defer i.unlock()
		i.gone = true
		if i.session.Empty() {
			return
		}
		if _, err := i.post(ctx, "user.logout", []any{}, i.session); err != nil {
			z.log.Warn("a Zabbix session could not be given back", "target", i.target.Name, "err", err)
		}
		i.session = ops.Secret{}
	})
}

func (i *instance) lock(ctx context.Context) error {
	select {
	case i.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s did not answer in time", i.target.Name), context.Cause(ctx))
	}
}

func (i *instance) unlock() { <-i.turn }

func (i *instance) replaced() error {
	return ops.Errorf(ops.CodeUnavailable, "%s or its credential was just changed: try again", i.target.Name)
}

// zabbixCall is one tool call at an instance. Its credential was opened for it.
type zabbixCall struct {
	*instance
	hop      Hop
	auth     ops.Secret
	redactor *Redactor
	again    bool // the session was renewed during this call
}

// begin makes ready for requests: it asks for the version where it is not known,
// opens the credential and, for a password without a session, logs in.
func (z *Zabbix) begin(ctx context.Context, hop Hop) (*zabbixCall, error) {
	i, err := z.instance(hop)
	if err != nil {
		return nil, err
	}
	if err := i.lock(ctx); err != nil {
		return nil, err
	}
	defer i.unlock()
	if i.gone {
		return nil, i.replaced()
	}
	if err := i.ask(ctx); err != nil {
		return nil, err
	}
	c := &zabbixCall{instance: i, hop: hop}
	switch hop.Credential.Kind {
	case "zabbix_token":
		if c.auth, err = hop.Open(); err != nil {
			return nil, fmt.Errorf("open credential %s: %w", hop.Credential.Name, err)
		}
		c.redactor = NewRedactor(c.auth)
		return c, nil
	case "zabbix_password":
		return c, c.login(ctx)
	}
	return nil, ops.Errorf(ops.CodeInvalid, "credential %s is of kind %s, which is not for Zabbix", hop.Credential.Name, hop.Credential.Kind)
}

// ask finds the version out. It is sent without a credential: the method takes none.
func (i *instance) ask(ctx context.Context) error {
	if time.Since(i.asked) < zabbixVersion {
		return nil
	}
	raw, err := i.post(ctx, "apiinfo.version", []any{}, ops.Secret{})
	if err != nil {
		return i.explain("apiinfo.version", err, nil)
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return i.noAPI(nil)
	}
	if _, err := fmt.Sscanf(text, "%d.%d", &i.version[0], &i.version[1]); err != nil {
		return i.noAPI(err)
	}
	i.asked = time.Now()
	return nil
}

// since says whether the API is at least of that version.
func (i *instance) since(major, minor int) bool {
	return i.version[0] > major || i.version[0] == major && i.version[1] >= minor
}

// login takes the instance's session, or makes one. The instance is locked.
func (c *zabbixCall) login(ctx context.Context) error {
	i := c.instance
	if i.session.Empty() {
		if i.refused != nil && time.Since(i.refusedAt) < zabbixPause {
			return i.refused
		}
		password, err := c.hop.Open()
		if err != nil {
			return fmt.Errorf("open credential %s: %w", c.hop.Credential.Name, err)
		}
		i.redactor = NewRedactor(password)
		user := "username"
		if !i.since(5, 4) {
			user = "user"
		}
		raw, err := i.post(ctx, "user.login", map[string]string{user: c.hop.Target.User, "password": password.Reveal()}, ops.Secret{})
		if _, said := errors.AsType[*zabbixError](err); said {
			// Not what Zabbix says: it may quote what was typed.
			i.refusedAt = time.Now()
			i.refused = fmt.Errorf("%w: %w", ops.Errorf(ops.CodeForbidden, "%s refuses the login of %s with credential %s", i.target.Name, c.hop.Target.User, c.hop.Credential.Name), i.redacted(err))
			return i.refused
		}
		if err != nil {
			return i.explain("user.login", err, i.redactor)
		}
		var session string
		if json.Unmarshal(raw, &session) != nil || session == "" {
			return i.noAPI(nil)
		}
		i.session, i.refused = ops.NewSecret(session), nil
		i.redactor = NewRedactor(password, i.session)
	}
	c.auth, c.redactor = i.session, i.redactor
	return nil
}

func (i *instance) redacted(err error) error { return errors.New(i.redactor.String(err.Error())) }

// do makes one request. The answer's strings are stripped and redacted. A
// session that has ended is renewed once: what was asked with it was not done.
func (c *zabbixCall) do(ctx context.Context, method string, params any) (any, error) {
	raw, err := c.post(ctx, method, params, c.auth)
	if e, said := errors.AsType[*zabbixError](err); said && e.unauthorized() && c.hop.Credential.Kind == "zabbix_password" && !c.again {
		c.again = true
		if err := c.renew(ctx); err != nil {
			return nil, err
		}
		raw, err = c.post(ctx, method, params, c.auth)
	}
	if err != nil {
		return nil, c.explain(method, err, c.redactor)
	}
	v, err := toolspec.Decode(raw)
	if err != nil {
		return nil, c.noAPI(err)
	}
	return c.clean(v), nil
}

func (c *zabbixCall) renew(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	if c.gone {
		return c.replaced()
	}
	if c.session.Equal(c.auth) { // else another call has renewed it
		c.session = ops.Secret{}
	}
	return c.login(ctx)
}

// rows makes one request for a list of objects.
func (c *zabbixCall) rows(ctx context.Context, method string, params map[string]any) ([]row, error) {
	v, err := c.do(ctx, method, params)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, ops.Errorf(ops.CodeUnavailable, "%s answers %s with something else than a list", c.target.Name, method)
	}
	return toRows(list), nil
}

// zabbixError is what the API says of a request that it does not do, with HTTP status 200.
type zabbixError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    string `json:"data"`
}

// Error implements error.
func (e *zabbixError) Error() string {
	return fmt.Sprintf("%s %s (%d)", e.Message, e.Data, e.Code)
}

// unauthorized says whether it was not done because of who asked. There is no
// code for it.
func (e *zabbixError) unauthorized() bool {
	for _, words := range []string{"re-login", "Not authori", "API token expired"} {
		if strings.Contains(e.Data, words) || strings.Contains(e.Message, words) {
			return true
		}
	}
	return false
}

// httpError is an answer that is none of the API.
type httpError struct{ status int }

// Error implements error.
func (e *httpError) Error() string { return "HTTP status " + strconv.Itoa(e.status) }

// post makes one JSON-RPC request. auth may be empty.
func (i *instance) post(ctx context.Context, method string, params any, auth ops.Secret) (json.RawMessage, error) {
	request := map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
	header := http.Header{"Content-Type": {"application/json-rpc"}, "User-Agent": {"Akmatori"}}
	switch {
	case auth.Empty():
	case i.since(6, 4):
		header.Set("Authorization", "Bearer "+auth.Reveal())
	default:
		request["auth"] = auth.Reveal()
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := i.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		return nil, &httpError{resp.StatusCode}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxZabbixAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxZabbixAnswer {
		return nil, ops.Errorf(ops.CodeTooLarge, "the answer is larger than %d MiB: ask for less (limit, output, a narrower filter)", maxZabbixAnswer>>20)
	}
	var answer struct {
		Version string          `json:"jsonrpc"`
		Result  json.RawMessage `json:"result"`
		Error   *zabbixError    `json:"error"`
	}
	switch err := json.Unmarshal(data, &answer); {
	case err != nil || answer.Version != "2.0":
		return nil, i.noAPI(err)
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Result == nil:
		return nil, i.noAPI(nil)
	}
	return answer.Result, nil
}

func (i *instance) url() string {
	t := i.target
	path := t.Path
	if path == "" {
		path = ops.ZabbixPath
	}
	scheme := t.Scheme
	if scheme == "" {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: net.JoinHostPort(t.Address, strconv.Itoa(t.Port)), Path: path}).String()
}

func (i *instance) noAPI(err error) error {
	no := ops.Errorf(ops.CodeUnavailable, "what answers at %s is not the API of Zabbix: check address, port and path of %s", i.url(), i.target.Name)
	if err == nil {
		return no
	}
	return fmt.Errorf("%w: %w", no, err)
}

// explain says what a person or a model can do about a failed request. What the
// API says is passed on, stripped and redacted.
func (i *instance) explain(method string, err error, r *Redactor) error {
	t := i.target
	said, refused := errors.AsType[*zabbixError](err)
	status, answered := errors.AsType[*httpError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case ops.CodeOf(err) != ops.CodeInternal:
		return err
	case refused && said.unauthorized():
		return fmt.Errorf("%w: %s", ops.Errorf(ops.CodeForbidden, "%s refuses its credential: it may have expired, been disabled or deleted there", t.Name), r.String(said.Error()))
	case refused:
		return ops.Errorf(ops.CodeInvalid, "%s refuses %s: %s", t.Name, method, oneLine(r.String(plain.Text(said.Message+" "+said.Data)), 1000))
	case answered && status.status >= 300 && status.status < 400:
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s sends us elsewhere (HTTP %d), and redirects are not followed: correct its address and path", t.Name, status.status), err)
	case answered && status.status == http.StatusNotFound:
		return i.noAPI(err)
	case answered:
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s answers with HTTP %d", t.Name, status.status), err)
	case untrusted:
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeForbidden, "the certificate of %s is not trusted; nothing was sent to it", t.Name), err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s did not answer in time", t.Name), err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "the call was stopped"), err)
	}
	return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s cannot be reached at %s port %d", t.Name, t.Address, t.Port), err)
}

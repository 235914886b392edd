package llm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// wire is what one attempt talks with. It follows no redirect, bounds what an
// answer brings, and calls alive whenever a piece of one has come: vendors keep a
// stream open with comments and pings, which their libraries keep to themselves.
// So is the status of an error whose body is not the vendor's JSON.
type wire struct {
	next   http.RoundTripper
	alive  func()
	status int
	header http.Header
}

func (w *wire) client() *http.Client {
	return &http.Client{
		Transport:     w,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RoundTrip implements [http.RoundTripper]. An answer is read to its end.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if err == nil {
		w.status, w.header = resp.StatusCode, resp.Header
		resp.Body = drained{http.MaxBytesReader(nil, resp.Body, maxBody), w.alive}
	}
	return resp, err
}

// drained reads what is left before it closes: after the last event of a stream
// nothing but the end of the body. Without that the connection could not be
// used again, and the proxy would take every turn for one that was given up.
type drained struct {
	io.ReadCloser
	alive func()
}

// Read implements [io.Reader].
func (d drained) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if n > 0 {
		d.alive()
	}
	return n, err
}

// Close implements [io.Closer]. It waits a quarter of a second at most.
func (d drained) Close() error {
	late := time.AfterFunc(250*time.Millisecond, func() { _ = d.ReadCloser.Close() })
	defer late.Stop()
	_, _ = io.CopyN(io.Discard, d.ReadCloser, 4<<10)
	return d.ReadCloser.Close()
}

// proxyType is the type of an error that the credential proxy wrote itself, and
// proxyKeyRefused the code of the one that says what the vendor said of the key.
const (
	proxyType       = "akmatori_proxy"
	proxyKeyRefused = "provider_auth"
)

// proxyKind gives the kind of an error of the proxy's own.
func proxyKind(status int, code string) Kind {
	switch {
	case code == proxyKeyRefused:
		return Auth
	case status == http.StatusUnauthorized:
		return Token
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status >= 500:
		return Unavailable
	}
	return Invalid
}

// failed completes an error: its detail is the vendor's message, unless that may
// repeat a key ("Incorrect API key provided: sk-…").
func failed(e Error, message string) *Error {
	if e.Kind != Auth && e.Kind != Token {
		e.Detail = cut(message)
	}
	return &e
}

// broken maps an error that is not a vendor's answer: of the connection, of the
// stream or of what was in it.
func (w *wire) broken(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if w.status >= 400 { // a page of something on the way, say
		return &Error{Kind: statusKind(w.status), Status: w.status, RetryAfter: retryAfter(w.header), err: err}
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return &Error{Kind: Malformed, err: err}
	}
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &Error{Kind: Malformed, err: err}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Error{Kind: Malformed, Detail: "the answer is too long", err: err}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{Kind: Interrupted, err: err}
	}
	return &Error{Kind: Unavailable, err: err}
}

// statusKind is what an HTTP status says where the vendor says nothing more.
func statusKind(status int) Kind {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return TooLong
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Auth
	case status == http.StatusPaymentRequired:
		return Quota
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status == http.StatusServiceUnavailable, status == 529:
		return Overloaded
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusConflict:
		return Unavailable
	case status == 0:
		return Interrupted
	case status < 400:
		return Malformed
	}
	return Invalid
}

// retryAfter reads the pause that a vendor asks for, in seconds or as a date.
func retryAfter(h http.Header) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 && ms < 1e9 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 && s < 1e6 {
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// cut bounds a vendor's message: it may be a whole page.
func cut(s string) string {
	const limit = 300
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if len(s) <= limit {
		return s
	}
	end := limit
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

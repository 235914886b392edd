package tool

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/plain"
	"github.com/akmatori/akmatori/internal/reach"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// Remote is the client of one configured server. It dials the server's own host
// and port alone, after it has judged the address; it follows no redirect, reads
// no proxy from the environment and unpacks nothing.
type Remote struct {
	server ops.ToolServer
	place  toolspec.Place
	client *http.Client
}

// NewRemote makes the client of a server that was checked. [Remote.Close] must be called.
func NewRemote(s ops.ToolServer) (*Remote, error) {
	place, err := toolspec.PlaceOf(s)
	if err != nil {
		return nil, err
	}
	if place.Scheme == "http" && !s.AllowHTTP {
		return nil, ops.Errorf(ops.CodeInvalid, "%s is without TLS", s.Name)
	}
	transport := &http.Transport{
		Proxy:                  nil,
		DialContext:            reach.New(place.Host, strconv.Itoa(place.Port), s.AllowPrivate).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    8,
		MaxConnsPerHost:        32,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if s.CA != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, ops.Errorf(ops.CodeInvalid, "the CA of %s is not a certificate in PEM form", s.Name)
		}
	}
	return &Remote{server: s, place: place, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends its idle connections; those in use end with their calls.
func (r *Remote) Close() { r.client.CloseIdleConnections() }

// Target is the server as what calls are for, without its credential.
func (r *Remote) Target() ops.Target {
	s := r.server
	return ops.Target{ID: s.ID, Name: s.Name, Kind: s.Kind, Address: r.place.Host, Port: r.place.Port, Scheme: r.place.Scheme, Path: r.place.Path, CA: s.CA, Credential: s.Credential}
}

// Server is what the client was made for.
func (r *Remote) Server() ops.ToolServer { return r.server }

// authorize opens the credential of a call, if there is one, and puts it into
// the header. What it gives finds the secret in answers.
func (r *Remote) authorize(hop Hop, header http.Header) (*Redactor, error) {
	if hop.Open == nil {
		return NewRedactor(), nil
	}
	secret, err := hop.Open()
	if err != nil {
		return nil, fmt.Errorf("open credential %s: %w", hop.Credential.Name, err)
	}
	text := secret.Reveal()
	if text == "" || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return nil, ops.Errorf(ops.CodeInvalid, "credential %s cannot be in a header: it is empty or has control characters", hop.Credential.Name)
	}
	switch hop.Credential.Kind {
	case "http_bearer":
		header.Set("Authorization", "Bearer "+text)
		return NewRedactor(secret), nil
	case "http_basic":
		_, password, ok := strings.Cut(text, ":")
		if !ok {
			return nil, ops.Errorf(ops.CodeInvalid, "credential %s is not of the form user:password", hop.Credential.Name)
		}
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(text)))
		return NewRedactor(secret, ops.NewSecret(password)), nil
	case "http_header":
		if r.server.Header == "" {
			return nil, ops.Errorf(ops.CodeInvalid, "%s does not say which header credential %s goes into", r.server.Name, hop.Credential.Name)
		}
		header.Set(r.server.Header, text)
		return NewRedactor(secret), nil
	}
	return nil, ops.Errorf(ops.CodeInvalid, "credential %s is of kind %s, which is not for tool servers", hop.Credential.Name, hop.Credential.Kind)
}

// errEncoded is an answer that is packed although we asked for it plain.
var errEncoded = errors.New("the answer is compressed, which was not asked for")

// read gives a body of at most limit bytes.
func (r *Remote) read(resp *http.Response, limit int) ([]byte, error) {
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, errEncoded
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(body) > limit {
		return nil, ops.Errorf(ops.CodeTooLarge, "the answer of %s is larger than %d bytes: ask for less", r.server.Name, limit)
	}
	return body, nil
}

// explain says what a person or a model can do about a request that got no
// answer. sent says that it may have been done nevertheless.
func (r *Remote) explain(err error, sent bool) error {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, dial := errors.AsType[*net.OpError](err)
	name, unknown := r.server.Name, ""
	if sent {
		unknown = "; whether it did what was asked is not known"
	}
	switch {
	case ops.CodeOf(err) != ops.CodeInternal:
		return err
	case errors.Is(err, reach.ErrAddress):
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeForbidden, "%s is at an address that is not allowed; nothing was sent there. An admin can allow private addresses for it, but never those of metadata services", name), err)
	case untrusted:
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeForbidden, "the certificate of %s is not trusted; nothing was sent to it", name), err)
	case errors.Is(err, errEncoded):
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s sends a compressed answer, which was not asked for", name), err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s did not answer in time%s", name, unknown), err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "the call was stopped%s", unknown), err)
	case dial && strings.Contains(err.Error(), "dial"):
		return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s cannot be reached at %s port %d", name, r.place.Host, r.place.Port), err)
	}
	return fmt.Errorf("%w: %w", ops.Errorf(ops.CodeUnavailable, "%s did not answer as HTTP%s", name, unknown), err)
}

// scrub strips and redacts every text in a JSON value, names of members too. A
// number that is not plain becomes its text: a column of numbers with a million
// digits each could be written and never read again.
func scrub(r *Redactor, v any) any {
	switch v := v.(type) {
	case string:
		return r.String(plain.Text(v))
	case json.Number:
		if toolspec.Plain(v) != nil {
			return oneLine(v.String(), 100)
		}
	case []any:
		for i := range v {
			v[i] = scrub(r, v[i])
		}
		return v
	case map[string]any:
		clean := make(map[string]any, len(v))
		for name, value := range v {
			clean[r.String(plain.Text(name))] = scrub(r, value)
		}
		return clean
	}
	return v
}

// maxData bounds what an answer gives to programs beside its text.
const maxData = 256 << 10

// dataOf is a JSON value for programs, if it is not too large for that.
func dataOf(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil || len(data) > maxData {
		return nil
	}
	return data
}

// legible writes a JSON value for a model: each item of an array on a line of its own.
func legible(v any) string {
	list, ok := v.([]any)
	if !ok {
		return oneJSON(v)
	}
	var b strings.Builder
	for _, item := range list {
		b.WriteString(oneJSON(item) + "\n")
	}
	if len(list) == 0 {
		return "[]\n"
	}
	return b.String()
}

func oneJSON(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

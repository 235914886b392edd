package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 64 << 20

// client speaks to the public API. Servers are verified against the system's
// roots; redirects are errors, so a token goes to one host alone.
type client struct {
	base    *url.URL
	token   ops.Secret
	cookies []*http.Cookie // of a login, instead of a token
	http    *http.Client
}

// apiError is a problem document (RFC 9457).
type apiError struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

func (e *apiError) Error() string {
	text := e.Title
	if e.Detail != "" {
		text = e.Detail
	}
	for _, at := range e.Errors {
		text += "; " + strings.TrimSpace(at.Location+" "+at.Message)
	}
	return fmt.Sprintf("%s (%d)", text, e.Status)
}

func newClient(p profile) (*client, error) {
	u, err := url.Parse(p.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usage("the URL is not of the form https://HOST")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 60 * time.Second, ForceAttemptHTTP2: true}
	return &client{base: u, token: p.token, http: &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// client signs in with what is stored or in the environment.
func (w *world) client() (*client, error) {
	p, err := w.profile()
	if err != nil {
		return nil, err
	}
	return newClient(p)
}

// send makes a request below /api/v1. The answer is one of success; its body
// must be closed.
func (c *client) send(ctx context.Context, method, path string, query url.Values, in any, header http.Header) (*http.Response, error) {
	u := c.base.JoinPath("api", "v1", path)
	u.RawQuery = query.Encode()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "akmatori-cli")
	if !c.token.Empty() {
		r.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	for _, cookie := range c.cookies {
		r.AddCookie(cookie)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the API is not reachable: %w", err)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	problem := &apiError{}
	data, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if json.Unmarshal(data, problem) != nil || problem.Title == "" && problem.Detail == "" {
		problem = &apiError{Title: http.StatusText(res.StatusCode)}
	}
	problem.Status = res.StatusCode
	if res.StatusCode == http.StatusUnauthorized {
		return nil, &exitError{exitSignedOut, problem}
	}
	return nil, problem
}

// call makes a request and decodes the answer into out, unless that is nil.
func (c *client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	res, err := c.send(ctx, method, path, query, in, nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if out == nil {
		return nil
	}
	return decode(res.Body, out)
}

func decode(r io.Reader, out any) error {
	data, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if len(data) > maxAnswer {
		return errors.New("the answer is too long")
	}
	if err := json.Unmarshal(data, out); err != nil {
		return errors.New("this is not the Akmatori API: its answer is not understood")
	}
	return nil
}

// list gets up to limit items of a paged list, as they came; 0 means all.
// pages names the query parameter that a next_cursor is given back as.
func (c *client) list(ctx context.Context, path string, query url.Values, pages string, limit int) ([]json.RawMessage, error) {
	if query == nil {
		query = url.Values{}
	}
	all := []json.RawMessage{}
	for {
		var page struct {
			Items      []json.RawMessage `json:"items"`
			NextCursor string            `json:"next_cursor"`
		}
		if err := c.call(ctx, http.MethodGet, path, query, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if limit > 0 && len(all) >= limit {
			return all[:limit], nil
		}
		if page.NextCursor == "" || len(page.Items) == 0 {
			return all, nil
		}
		query.Set(pages, page.NextCursor)
	}
}

// as decodes the items of a list.
func as[T any](raw []json.RawMessage) ([]T, error) {
	out := make([]T, len(raw))
	for i, r := range raw {
		if err := json.Unmarshal(r, &out[i]); err != nil {
			return nil, errors.New("this is not the Akmatori API: its answer is not understood")
		}
	}
	return out, nil
}

// loopback says whether a URL's host is this machine.
func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

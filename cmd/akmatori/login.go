package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// maxSecret bounds what is read as a secret.
const maxSecret = 64 << 10

type loginCmd struct {
	URL           string `arg:"" help:"Where the API is, such as https://akmatori.example.com."`
	Username      string `short:"u" help:"Asked for if missing."`
	PasswordStdin bool   `help:"Read the password from standard input instead of asking for it."`
	TokenStdin    bool   `help:"Read an API token from standard input, for who signs in with a provider and has no password: make one on the page, under API tokens."`
}

// Run signs in with a password, and a code if there is a second factor, makes an
// API token and stores it. The session that was needed for that ends. A token
// that somebody has made on the page is checked and stored as it is.
func (l *loginCmd) Run(ctx context.Context, w *world) error {
	c, err := newClient(profile{url: strings.TrimRight(l.URL, "/")})
	if err != nil {
		return err
	}
	if c.base.Scheme == "http" && !loopback(c.base) {
		_, _ = fmt.Fprintln(w.stderr, "Warning: the connection is not encrypted; others on the way can read the password.")
	}
	if l.TokenStdin {
		return l.withToken(ctx, w, c)
	}
	if l.Username == "" {
		if l.PasswordStdin {
			return usage("--password-stdin needs --username")
		}
		_, _ = fmt.Fprint(w.stderr, "Username: ")
		line, err := bufio.NewReader(w.stdin).ReadString('\n')
		if err != nil {
			return fmt.Errorf("read the username: %w", err)
		}
		l.Username = strings.TrimSpace(line)
	}
	password, err := l.password(w)
	if err != nil {
		return err
	}
	login, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	res, err := c.send(login, http.MethodPost, "auth/login", nil, map[string]string{"username": l.Username, "password": password.Reveal()}, nil)
	if err != nil {
		if e, ok := errors.AsType[*apiError](err); ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
			_, _ = fmt.Fprintln(w.stderr, "Who signs in with a provider makes an API token on the page: akmatori login URL --token-stdin")
		}
		return err
	}
	var half struct {
		CodeDue bool `json:"code_due"`
	}
	err = decode(res.Body, &half)
	_ = res.Body.Close()
	if err != nil {
		return err
	}
	// By hand and not by a jar: behind a proxy the cookie may be marked for https alone.
	c.cookies = res.Cookies()
	if half.CodeDue {
		if err := l.second(ctx, w, c); err != nil {
			return err
		}
	}
	host, _ := os.Hostname()
	var made struct {
		Token ops.Secret `json:"token"`
	}
	err = c.call(ctx, http.MethodPost, "tokens", nil, map[string]string{"name": strings.TrimSpace("akmatori CLI " + host)}, &made)
	if err == nil && made.Token.Empty() {
		err = errors.New("the API gave no token")
	}
	// The session is not needed any more; if it cannot be ended, it expires.
	_ = c.call(context.WithoutCancel(ctx), http.MethodPost, "auth/logout", nil, nil, nil)
	if err != nil {
		return err
	}
	path, err := w.save(profile{url: c.base.String(), token: made.Token})
	if err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	_, _ = fmt.Fprintf(w.stderr, "Signed in to %s as %s. The token is in %s.\n", c.base, inertLine(l.Username), path)
	return nil
}

// second gives the code of the second factor, which completes the session.
func (l *loginCmd) second(ctx context.Context, w *world, c *client) error {
	_, _ = fmt.Fprint(w.stderr, "Code of your authenticator app, or a recovery code: ")
	code, err := w.readPassword()
	_, _ = fmt.Fprintln(w.stderr)
	if err != nil {
		return fmt.Errorf("read the code: %w (without a terminal, use an API token: --token-stdin)", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	res, err := c.send(ctx, http.MethodPost, "auth/second", nil, map[string]string{"code": strings.TrimSpace(code)}, nil)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	c.cookies = res.Cookies()
	return nil
}

// withToken stores a token that works.
func (l *loginCmd) withToken(ctx context.Context, w *world, c *client) error {
	token, err := readSecret(w.stdin, true)
	if err != nil {
		return err
	}
	c.token = token
	var who struct {
		User struct {
			Username string `json:"username"`
		} `json:"user"`
	}
	if err := c.call(ctx, http.MethodGet, "auth/session", nil, nil, &who); err != nil {
		return err
	}
	path, err := w.save(profile{url: c.base.String(), token: token})
	if err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	_, _ = fmt.Fprintf(w.stderr, "Signed in to %s as %s. The token is in %s.\n", c.base, inertLine(who.User.Username), path)
	return nil
}

func (l *loginCmd) password(w *world) (ops.Secret, error) {
	if l.PasswordStdin {
		return readSecret(w.stdin, true)
	}
	_, _ = fmt.Fprint(w.stderr, "Password: ")
	p, err := w.readPassword()
	_, _ = fmt.Fprintln(w.stderr)
	if err != nil {
		return ops.Secret{}, fmt.Errorf("read the password: %w (use --password-stdin without a terminal)", err)
	}
	return ops.NewSecret(p), nil
}

// readSecret reads all of r; line cuts the last line break off.
func readSecret(r io.Reader, line bool) (ops.Secret, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return ops.Secret{}, fmt.Errorf("read the secret: %w", err)
	}
	if len(data) > maxSecret {
		return ops.Secret{}, fmt.Errorf("the secret has more than %d bytes", maxSecret)
	}
	text := string(data)
	if line {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	}
	if text == "" {
		return ops.Secret{}, errors.New("the secret is empty")
	}
	return ops.NewSecret(text), nil
}

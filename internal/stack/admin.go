package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// Admin is the account that a development stack makes for itself.
type Admin struct {
	User            string
	Password, Token ops.Secret
}

// MakeAdmin makes the account through the public API at url, as a person would:
// by a setup link, a login and a token. What it made before, it finds again.
func MakeAdmin(ctx context.Context, url string, db *postgres.DB, state *State) (Admin, error) {
	a := Admin{User: "admin"}
	var err error
	if a.Password, err = state.Keep("admin.password", token("")); err != nil {
		return a, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return a, err
	}
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	setup := ops.NewToken(ops.SetupTokenPrefix)
	fresh, err := db.SetSetupToken(ctx, ops.HashToken(setup), time.Now().Add(time.Minute))
	if err != nil {
		return a, err
	}
	login := map[string]string{"username": a.User, "password": a.Password.Reveal()}
	path := "/api/v1/auth/login"
	if fresh {
		login["token"] = setup.Reveal()
		path = "/api/v1/auth/setup"
	}
	if err := post(ctx, client, url+path, login, nil); err != nil {
		return a, fmt.Errorf("account of the admin: %w", err)
	}
	a.Token, err = state.Keep("admin.token", func() (ops.Secret, error) {
		var made struct{ Token ops.Secret }
		err := post(ctx, client, url+"/api/v1/tokens", map[string]string{"name": "dev"}, &made)
		return made.Token, err
	})
	if err != nil {
		return a, fmt.Errorf("token of the admin: %w", err)
	}
	return a, nil
}

// post sends JSON and reads JSON.
func post(ctx context.Context, client *http.Client, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return errors.New(resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

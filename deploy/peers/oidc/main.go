// Command oidc is a real OpenID Connect provider on loopback: the certified
// implementation github.com/zitadel/oidc with its example's page for signing in
// and its storage in memory. It is a module of its own: nothing of it is linked
// into the product.
//
//	oidc PORT REDIRECT_URL USERS.json GROUPS.json
//
// USERS.json has users by id (ID, Username, Password, …), GROUPS.json the names of
// groups by the user's id; it is read each time somebody is described. The client
// is "akmatori" with the secret "of-the-client".
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// store adds groups to what the example says of people.
type store struct {
	*storage.Storage
	groups string // the file
}

func (s store) describe(info *oidc.UserInfo) error {
	data, err := os.ReadFile(s.groups)
	if err != nil {
		return err
	}
	var groups map[string][]string
	if err := json.Unmarshal(data, &groups); err != nil {
		return err
	}
	info.AppendClaims("groups", groups[info.Subject])
	return nil
}

// SetUserinfoFromRequest describes somebody in an ID token.
func (s store) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, token op.IDTokenRequest, scopes []string) error {
	if err := s.Storage.SetUserinfoFromRequest(ctx, info, token, scopes); err != nil {
		return err
	}
	return s.describe(info)
}

// SetUserinfoFromToken describes somebody in the user info.
func (s store) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if err := s.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	return s.describe(info)
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: oidc PORT REDIRECT_URL USERS.json GROUPS.json")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(port, redirect, users, groups string) error {
	storage.RegisterClients(storage.WebClient("akmatori", "of-the-client", redirect))
	known, err := storage.StoreFromFile(users)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	router := exampleop.SetupServer("http://127.0.0.1:"+port, store{storage.NewStorage(known), groups}, log, false)
	server := &http.Server{Addr: "127.0.0.1:" + port, Handler: router, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

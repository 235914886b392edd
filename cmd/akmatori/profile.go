package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// Environment variables that take the place of what login has stored.
const (
	envURL   = "AKMATORI_URL"
	envToken = "AKMATORI_TOKEN"
)

// profile is where the API is and how to sign in to it.
type profile struct {
	url   string
	token ops.Secret
}

// storedProfile is the file's form: the one place where the token is written.
type storedProfile struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// profile reads the file of login and the environment. The stored token goes to
// the URL that it was made at and nowhere else.
func (w *world) profile() (profile, error) {
	p := profile{url: strings.TrimRight(w.getenv(envURL), "/"), token: ops.NewSecret(w.getenv(envToken))}
	if p.url != "" && !p.token.Empty() {
		return p, nil
	}
	path, err := w.profilePath()
	if err != nil {
		return p, err
	}
	data, err := os.ReadFile(path)
	var stored storedProfile
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return p, err
	default:
		if err := json.Unmarshal(data, &stored); err != nil {
			return p, fmt.Errorf("%s is not what login writes: sign in again", path)
		}
	}
	switch {
	case p.url == "":
		p.url = stored.URL
	case p.url != stored.URL:
		stored.Token = ""
	}
	if p.token.Empty() {
		p.token = ops.NewSecret(stored.Token)
	}
	if p.url == "" || p.token.Empty() {
		return p, &exitError{exitSignedOut, errors.New("not signed in: akmatori login URL")}
	}
	return p, nil
}

// save stores p for its user alone, at once or not at all.
func (w *world) save(p profile) (path string, err error) {
	path, err = w.profilePath()
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(storedProfile{URL: p.url, Token: p.token.Reveal()})
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "config-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return path, nil
}

func (w *world) profilePath() (string, error) {
	if dir := w.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "akmatori", "config.json"), nil
	}
	home := w.getenv("HOME")
	if home == "" {
		return "", errors.New("neither XDG_CONFIG_HOME nor HOME says where the configuration is")
	}
	return filepath.Join(home, ".config", "akmatori", "config.json"), nil
}

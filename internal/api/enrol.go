package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

// The enrolment of a host: the gateway asks it for its keys, a person compares
// and says which one is right, and only that one is pinned. The api itself
// reaches no host.

// hostKeyScan is what a host offers next to what is pinned for it. Nothing of
// it is trusted but what was pinned before.
type hostKeyScan struct {
	State   string        `json:"state" enum:"new,trusted,changed" doc:"new: nothing is pinned. trusted: it has proved what is pinned. changed: it has not; it was set up anew, or somebody is in between."`
	Pinned  []pinnedKey   `json:"pinned" nullable:"false"`
	Offered []ops.HostKey `json:"offered" nullable:"false"`
}

// pinnedKey is a line of a target's host keys.
type pinnedKey struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
	Authority   bool   `json:"authority" doc:"It signs host keys."`
}

// shownTarget is a target with the fingerprints of what is pinned for it.
type shownTarget struct {
	ops.Target
	HostKeys []pinnedKey `json:"host_keys" nullable:"false"`
}

func show(t ops.Target) shownTarget { return shownTarget{t, pinnedKeys(t.HostKey)} }

type targetPath struct {
	ID string `path:"id" maxLength:"36"`
}

type acceptedKey struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Fingerprint string `json:"fingerprint" pattern:"^SHA256:[A-Za-z0-9+/]{43}$" patternDescription:"SHA256:…, as ssh-keygen -l shows it" doc:"Of a key that the host offers, or of the authority that has signed one."`
		Keep        bool   `json:"keep,omitempty" doc:"Beside what is pinned already, which is replaced otherwise."`
	}
}

// loginTest is what became of a login that did nothing.
type loginTest struct {
	OK      bool   `json:"ok"`
	Message string `json:"message" doc:"What to do, if it is not ok."`
	Millis  int64  `json:"took_ms"`
}

func (s *API) enrolOperations(api huma.API) {
	const tag, one = "configuration", "/targets/{id}"
	handle(s, api, operation{id: "scan-host-key", asks: true, method: http.MethodPost, path: one + "/host-key/scan", summary: "Ask a host for its public keys; nothing is trusted by that", tag: tag},
		func(ctx context.Context, who caller, in *targetPath) (*answer[hostKeyScan], error) {
			t, err := s.sshTarget(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			scan, err := s.scanned(ctx, who, t)
			return &answer[hostKeyScan]{scan}, err
		})
	handle(s, api, operation{id: "accept-host-key", asks: true, method: http.MethodPost, path: one + "/host-key/accept", summary: "Pin the key with this fingerprint, which the host must offer now", tag: tag}, s.acceptHostKey)
	handle(s, api, operation{id: "test-target", asks: true, method: http.MethodPost, path: one + "/test", summary: "Log in to a target and do nothing", tag: tag}, s.testTarget)
}

func (s *API) target(ctx context.Context, id string) (ops.Target, error) {
	if !ops.ValidID(id) {
		return ops.Target{}, ops.Errorf(ops.CodeNotFound, "there is no such target")
	}
	return s.db.Target(ctx, id)
}

func (s *API) sshTarget(ctx context.Context, id string) (ops.Target, error) {
	t, err := s.target(ctx, id)
	if err == nil && t.Kind != "ssh" {
		err = ops.Errorf(ops.CodeInvalid, "only hosts for ssh have host keys")
	}
	return t, err
}

// enrolling is the service that asks the gateway.
const enrolling = "enrolment"

// asTool has the gateway do something at one target, by a token for just that.
func (s *API) asTool(ctx context.Context, name string, t ops.Target, arguments map[string]any) (ops.ToolResult, error) {
	token, err := s.db.MintServiceToken(ctx, postgres.ServiceToken{Service: enrolling, Tools: []string{name}, Targets: []string{t.Name}, Life: tokenLife})
	if err != nil {
		return ops.ToolResult{}, err
	}
	arguments["target"] = t.Name
	return s.toolResult(ctx, token, name, arguments)
}

// scanned asks a host for its keys.
func (s *API) scanned(ctx context.Context, who caller, t ops.Target) (scan hostKeyScan, err error) {
	err = s.audited(ctx, who, "target.host_key_scanned", t.ID, map[string]string{"name": t.Name}, func() error {
		result, err := s.asTool(ctx, "ssh_host_keys", t, map[string]any{})
		switch {
		case err != nil:
			return err
		case result.State != ops.CallDone:
			return ops.Errorf(ops.CodeUnavailable, "%s", result.Text)
		}
		if json.Unmarshal(result.Data, &scan.Offered) != nil || len(scan.Offered) == 0 {
			return ops.Errorf(ops.CodeUnavailable, "the gateway's answer cannot be read")
		}
		return nil
	})
	if err != nil {
		return scan, err
	}
	scan.Pinned, scan.State = pinnedKeys(t.HostKey), "changed"
	switch {
	case len(scan.Pinned) == 0:
		scan.State = "new"
	case slices.ContainsFunc(scan.Offered, func(k ops.HostKey) bool { return k.Pinned }):
		scan.State = "trusted"
	}
	return scan, nil
}

// pinnedKeys reads what [hostKeys] has checked.
func pinnedKeys(text string) []pinnedKey {
	keys := []pinnedKey{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		authority := len(fields) > 0 && fields[0] == ops.CertAuthority
		if authority {
			fields = fields[1:]
		}
		if len(fields) < 2 || !ops.IsHostKey(fields[0], fields[1]) {
			continue
		}
		raw, _ := base64.StdEncoding.DecodeString(fields[1]) // [ops.IsHostKey] has read it
		sum := sha256.Sum256(raw)
		keys = append(keys, pinnedKey{fields[0], "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]), authority})
	}
	return keys
}

// acceptHostKey pins the key that a person has confirmed. The host is asked
// anew, so that what is pinned is what it has, and exactly what was confirmed.
func (s *API) acceptHostKey(ctx context.Context, who caller, in *acceptedKey) (*answer[shownTarget], error) {
	t, err := s.sshTarget(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	scan, err := s.scanned(ctx, who, t)
	if err != nil {
		return nil, err
	}
	line := ""
	for _, k := range scan.Offered {
		switch {
		case k.Fingerprint == in.Body.Fingerprint:
			line = k.Key
		case k.Authority != nil && k.Authority.Fingerprint == in.Body.Fingerprint && line == "":
			line = ops.CertAuthority + " " + k.Authority.Key
		}
	}
	if line == "" {
		return nil, ops.Errorf(ops.CodeConflict, "%s does not offer a key with this fingerprint now: look at its keys again", t.Name)
	}
	text := line
	if in.Body.Keep {
		text = t.HostKey + "\n" + line
	}
	pinned, err := ops.HostKeys(text)
	if err != nil {
		return nil, err
	}
	var before []string
	for _, k := range scan.Pinned {
		before = append(before, k.Fingerprint)
	}
	detail := map[string]string{"name": t.Name, "fingerprint": in.Body.Fingerprint, "before": strings.Join(before, " "), "state": scan.State}
	err = s.audited(ctx, who, "target.host_key_accepted", t.ID, detail, func() error { return s.db.PinHostKey(ctx, t, pinned) })
	if err != nil {
		return nil, err
	}
	t, err = s.db.Target(ctx, t.ID)
	return &answer[shownTarget]{show(t)}, err
}

// testTarget has the gateway log in. That it cannot is an answer, and no error.
func (s *API) testTarget(ctx context.Context, who caller, in *targetPath) (*answer[loginTest], error) {
	t, err := s.target(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	name, arguments := "ssh_login", map[string]any{}
	if t.Kind == "zabbix" {
		name, arguments = "zabbix_hosts", map[string]any{"limit": 1}
	}
	var test loginTest
	err = s.audited(ctx, who, "target.tested", t.ID, map[string]string{"name": t.Name}, func() error {
		began := time.Now()
		result, err := s.asTool(ctx, name, t, arguments)
		test = loginTest{OK: result.State == ops.CallDone, Message: strings.TrimSpace(result.Text), Millis: time.Since(began).Milliseconds()}
		if test.OK && t.Kind == "zabbix" {
			test.Message = t.Name + " takes the login and answers"
		}
		if err != nil || !test.OK {
			return err
		}
		return s.db.TargetTested(ctx, t.ID)
	})
	return &answer[loginTest]{test}, err
}

package stack_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/stack"
	"github.com/stretchr/testify/require"
)

// TestConfigurationOfTheAPI: the process that serves loads a file, again when it
// is told to, and serves with what was loaded before while the file is wrong,
// also when it starts.
//
// threats: A7
func TestConfigurationOfTheAPI(t *testing.T) {
	t.Parallel()
	c := prepare(t, "name: none\nmodel: none\nturns: [{text: nothing}]\n")
	path := filepath.Join(c.dir, "akmatori.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	api := c.procs["api"]
	api.env = append(api.env, "AKMATORI_CONFIG="+path, "WEB_USER=deploy")
	secret, login := ops.NewToken(ops.WebhookTokenPrefix), ops.NewToken("")
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "login"), []byte(login.Reveal()), 0o600))
	c.source, c.webhook = ops.NewID(), secret
	good := `
sources:
  - {id: ` + c.source + `, name: from-file, kind: alertmanager, secret: ` + secret.Reveal() + `}
credentials:
  - {name: web-login, kind: ssh_password, secret_file: login, targets: [web-1]}
targets:
  - {name: web-1, address: web-1.example, port: 22, user: "${WEB_USER}", credential: web-login}
`
	write(good)
	api.start()
	var err error
	c.admin, err = stack.MakeAdmin(t.Context(), c.url, c.db, c.state)
	require.NoError(t, err)
	c.alert("FromAFile", "firing", time.Now())
	target := func() ops.Target {
		all, err := c.db.Targets(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		return all[0]
	}
	require.Equal(t, "deploy", target().User)

	// What the page System health shows.
	shown := func() ops.Configuration {
		var s struct {
			Processes []ops.Process `json:"processes"`
		}
		require.NoError(t, json.Unmarshal(c.get("/api/v1/system"), &s))
		for _, p := range s.Processes {
			if p.Kind == "api" && p.Alive && p.Configuration != nil {
				return *p.Configuration
			}
		}
		return ops.Configuration{}
	}
	require.Eventually(t, func() bool { return shown().Version != "" }, 20*time.Second, 20*time.Millisecond)
	first := shown()

	reload := func() { require.NoError(t, api.cmd.Process.Signal(syscall.SIGHUP)) }
	write(strings.Replace(good, "port: 22", "port: 2222, color: red", 1))
	reload()
	require.Eventually(t, func() bool { return shown().Problem != "" }, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, first.Version, shown().Version)
	require.Equal(t, 22, target().Port)

	// A start does no worse, and the process's own secrets are none of a file's.
	for _, wrong := range []string{
		strings.Replace(good, "port: 22", "port: 2222, color: red", 1),
		strings.Replace(good, "${WEB_USER}", "${AKMATORI_DATABASE_URL}", 1),
	} {
		write(wrong)
		api.kill()
		api.start()
		require.Eventually(t, func() bool { now := shown(); return now.Problem != "" && now.Version == "" }, 20*time.Second, 20*time.Millisecond)
		require.Equal(t, "deploy", target().User)
	}
	c.alert("WhileItIsWrong", "firing", time.Now())

	write(strings.Replace(good, "port: 22", "port: 2222", 1))
	reload()
	require.Eventually(t, func() bool { now := shown(); return now.Problem == "" && now.Version != "" }, 20*time.Second, 20*time.Millisecond)
	require.NotEqual(t, first.Version, shown().Version)
	require.Equal(t, 2222, target().Port)

	// Two loads were begun and done; what was not even read was no act.
	records, err := c.db.Audit(t.Context(), "api", 0, 1000)
	require.NoError(t, err)
	var said []string
	for _, r := range records {
		if r.Action == "configuration.loaded" {
			require.Equal(t, "service:config", r.Actor)
			said = append(said, r.Outcome)
		}
	}
	require.Equal(t, []string{"intent", "ok", "intent", "ok"}, said)
	log, err := os.ReadFile(api.log)
	require.NoError(t, err)
	for what, text := range dump(t, c.pg.Owner) {
		require.NotContains(t, text, secret.Reveal(), what)
		require.NotContains(t, text, login.Reveal(), what)
	}
	require.NotContains(t, string(log), secret.Reveal())
	require.NotContains(t, string(log), login.Reveal())
}

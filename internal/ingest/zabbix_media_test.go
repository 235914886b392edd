package ingest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
)

// mediaType is the file that people import into Zabbix.
type mediaType struct {
	Name            string
	Type            string
	Parameters      []struct{ Name, Value string }
	Attempts        string
	AttemptInterval string `yaml:"attempt_interval"`
	Timeout, Script string
	Messages        []struct {
		Source  string `yaml:"event_source"`
		Mode    string `yaml:"operation_mode"`
		Subject string
		Message string
	} `yaml:"message_templates"`
}

func readMediaType(t *testing.T) mediaType {
	t.Helper()
	data, err := os.ReadFile("../../deploy/zabbix/media_akmatori.yaml")
	require.NoError(t, err)
	var file struct {
		Export struct {
			Version    string
			MediaTypes []mediaType `yaml:"media_types"`
		} `yaml:"zabbix_export"`
	}
	require.NoError(t, yaml.Unmarshal(data, &file))
	require.Equal(t, "6.0", file.Export.Version)
	require.Len(t, file.Export.MediaTypes, 1)
	return file.Export.MediaTypes[0]
}

// TestZabbixMediaType: the file sends what the adapter reads, as macros that
// Zabbix 6.0 has.
func TestZabbixMediaType(t *testing.T) {
	t.Parallel()
	m := readMediaType(t)
	require.Equal(t, "WEBHOOK", m.Type)
	require.Equal(t, []string{"10", "60s", "10s"}, []string{m.Attempts, m.AttemptInterval, m.Timeout})
	macro := regexp.MustCompile(`^(\{\$?[A-Z]+(\.[A-Z0-9]+)*\}|)$`)
	sent := map[string]string{}
	for _, p := range m.Parameters {
		require.NotContains(t, sent, p.Name, "twice")
		require.Regexp(t, macro, p.Value)
		require.NotContains(t, []string{"{EVENT.TIMESTAMP}", "{EVENT.CLOCK}"}, p.Value, "not in 6.0")
		sent[p.Name] = p.Value
	}
	// What the golden files of our own events have is what the script sends.
	var body map[string]any
	data, err := os.ReadFile("testdata/zabbix-own-problem.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &body))
	for _, own := range []string{"akmatori_url", "akmatori_secret", "HTTPProxy"} {
		require.Contains(t, sent, own)
		delete(sent, own)
	}
	delete(body, "event_unix") // made by the script
	require.Equal(t, slices.Sorted(maps.Keys(body)), slices.Sorted(maps.Keys(sent)))

	var modes []string
	for _, msg := range m.Messages {
		require.NotEmpty(t, msg.Subject)
		require.NotEmpty(t, msg.Message)
		modes = append(modes, msg.Source+" "+msg.Mode)
	}
	require.Equal(t, []string{"TRIGGERS PROBLEM", "TRIGGERS RECOVERY", "TRIGGERS UPDATE", "INTERNAL PROBLEM", "INTERNAL RECOVERY"}, modes)
}

// TestZabbixScript runs the script in Zabbix's own engine.
func TestZabbixScript(t *testing.T) {
	t.Parallel()
	engine, err := exec.LookPath("zabbix_js")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("there is no zabbix_js on this machine")
	}
	require.NoError(t, err)
	script := filepath.Join(t.TempDir(), "akmatori.js")
	require.NoError(t, os.WriteFile(script, []byte(readMediaType(t).Script), 0o600))
	const secret = "the secret"
	status := make(chan int, 1)
	bodies := make(chan []byte, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer "+secret || r.Header.Get("Content-Type") != "application/json" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(<-status)
		_, _ = w.Write([]byte(`{"detail":"what the server says"}`))
		bodies <- body
	}))
	defer server.Close()

	// run gives what the script prints, with the parameters of the golden file changed.
	run := func(t *testing.T, zone string, change map[string]string) string {
		t.Helper()
		data, err := os.ReadFile("testdata/zabbix-own-problem.json")
		require.NoError(t, err)
		var given map[string]any
		require.NoError(t, json.Unmarshal(data, &given))
		delete(given, "event_unix")
		tags, err := json.Marshal(given["event_tags"])
		require.NoError(t, err)
		given["event_tags"] = string(tags) // a macro's value is text
		given["akmatori_url"], given["akmatori_secret"], given["HTTPProxy"] = server.URL, secret, ""
		for k, v := range change {
			given[k] = v
		}
		input, err := json.Marshal(given)
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), engine, "-s", script, "-i", "-")
		file := filepath.Join(t.TempDir(), "params.json")
		require.NoError(t, os.WriteFile(file, input, 0o600))
		cmd.Args[len(cmd.Args)-1] = file
		cmd.Env = append(os.Environ(), "TZ="+zone)
		out, _ := cmd.CombinedOutput() // it says what went wrong and not by its exit code
		require.NotContains(t, string(out), secret)
		return string(out)
	}
	sentAlert := func(t *testing.T, zone string, change map[string]string) ops.Alert {
		t.Helper()
		status <- http.StatusAccepted
		require.Contains(t, run(t, zone, change), "OK")
		body := <-bodies
		require.NotContains(t, string(body), secret)
		parsed, err := parseZabbix(testRequest(body))
		require.NoError(t, err)
		require.Len(t, parsed.Alerts, 1)
		return parsed.Alerts[0]
	}

	problem := sentAlert(t, "Asia/Tokyo", nil)
	var golden struct{ Alerts []ops.Alert }
	want, err := os.ReadFile("testdata/zabbix-own-problem.golden")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(want, &golden))
	require.Equal(t, golden.Alerts[0], problem, "10:27:53 in Tokyo")
	require.Equal(t, problem.At.Add(9*60*60*1e9), sentAlert(t, "UTC", nil).At)

	odd := "quote \" backslash \\ line\nbreak \t tab ünï {EVENT.ID} </script>"
	require.Equal(t, odd, sentAlert(t, "Asia/Tokyo", map[string]string{"event_opdata": odd}).Summary)

	ack := sentAlert(t, "Asia/Tokyo", map[string]string{"event_update_status": "1", "event_ack": "Yes",
		"event_update_date": "2026.11.21", "event_update_time": "10:30:00"})
	require.Equal(t, ops.AlertAcknowledged, ack.Status)
	require.Equal(t, "2026-11-21T01:30:00Z", ack.At.Format("2006-01-02T15:04:05Z07:00"))

	end := sentAlert(t, "Asia/Tokyo", map[string]string{"event_value": "0", "event_recovery_date": "2026.11.21", "event_recovery_time": "10:40:00"})
	require.Equal(t, ops.AlertResolved, end.Status)
	require.Equal(t, "2026-11-21T01:40:00Z", end.EndsAt.Format("2006-01-02T15:04:05Z07:00"))

	internal := sentAlert(t, "UTC", map[string]string{"event_source": "3", "event_tags": "{EVENT.TAGSJSON}", "trigger_id": "{TRIGGER.ID}"})
	require.Equal(t, ops.AlertInternal, internal.Kind)

	for _, refused := range []int{301, 401, 404, 413, 500, 503} {
		status <- refused
		out := run(t, "UTC", nil)
		<-bodies
		require.Contains(t, out, "Akmatori: HTTP", refused)
		require.NotContains(t, out, "OK", refused)
	}
	require.Contains(t, run(t, "UTC", map[string]string{"akmatori_url": "{$AKMATORI.URL}"}), "{$AKMATORI.URL} is not set")
	require.Contains(t, run(t, "UTC", map[string]string{"akmatori_secret": " "}), "{$AKMATORI.SECRET} is not set")
	server.Close()
	require.False(t, strings.Contains(run(t, "UTC", nil), "OK"), "nobody there")
}

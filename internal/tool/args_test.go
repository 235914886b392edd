package tool_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
	"github.com/akmatori/akmatori/internal/tool"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite golden files")

func table(t testing.TB) []tool.Tool {
	t.Helper()
	pool := tool.NewPool(slog.New(slog.DiscardHandler))
	t.Cleanup(pool.Close)
	zabbix := tool.NewZabbix(slog.New(slog.DiscardHandler))
	t.Cleanup(zabbix.Close)
	return tool.Table(pool, zabbix)
}

func find(t testing.TB, name string) tool.Tool {
	t.Helper()
	for _, tl := range table(t) {
		if tl.Name == name {
			return tl
		}
	}
	t.Fatalf("there is no tool %s", name)
	return tool.Tool{}
}

// TestTable holds what models, clients and grants of digests rely on.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, tl := range table(t) {
		require.False(t, seen[tl.Name], "D4: %s is there twice", tl.Name)
		seen[tl.Name] = true
		known, command := policy.Knows(tl.Name)
		require.True(t, known, "package policy does not know %s", tl.Name)
		require.Equal(t, tl.Command != "", command)
		require.NotNil(t, tl.Limit)
		require.NotNil(t, tl.Run)
		require.Equal(t, tl.Target != "", tl.Kind != "")
		for _, f := range tl.Fields {
			require.NotEmpty(t, f.Description, f.Name)
			switch f.Type {
			case tool.String:
				require.Positive(t, f.MaxLength, f.Name)
			case tool.Strings:
				require.Positive(t, f.MaxLength, f.Name)
				require.Positive(t, f.MaxItems, f.Name)
			case tool.Integer:
				require.Less(t, f.Min, f.Max, f.Name)
			}
		}
		var schema bytes.Buffer
		raw, err := json.Marshal(map[string]any{"name": tl.Name, "description": tl.Description, "inputSchema": tl.Schema(), "mutates": tl.Mutates, "service": tl.Service})
		require.NoError(t, err)
		require.NoError(t, json.Indent(&schema, raw, "", "  "))
		schema.WriteByte('\n')
		golden := filepath.Join("catalogue", tl.Name+".json")
		if *update {
			require.NoError(t, os.WriteFile(golden, schema.Bytes(), 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), schema.String())
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	execute := find(t, "ssh_execute")
	for _, c := range []struct{ name, raw, wrong string }{
		{"all", `{"target":"a","command":"df -h","timeout_seconds":5}`, ""},
		{"least", ` { "command" : "df" , "target" : "a" } `, ""},
		{"D3 unknown", `{"target":"a","command":"df","user":"root"}`, `no argument "user"`},
		{"D3 unknown nested", `{"target":"a","command":"df","x":{"y":[1]}}`, `no argument "x"`},
		{"duplicate", `{"target":"a","command":"df","target":"b"}`, "target is given twice"},
		{"duplicate in escapes", `{"target":"a","command":"df","\u0074arget":"b"}`, "target is given twice"},
		{"other spelling", `{"target":"a","command":"df","Target":"b"}`, `no argument "Target"`},
		{"missing", `{"target":"a"}`, "command is missing"},
		{"empty", `{"target":"a","command":""}`, "command is empty"},
		{"nothing", ``, "missing"},
		{"null", `null`, "missing"},
		{"array", `["a"]`, "not a JSON object"},
		{"string", `"{}"`, "not a JSON object"},
		{"D9 number for a string", `{"target":1,"command":"df"}`, "target must be a string"},
		{"D9 null for a string", `{"target":null,"command":"df"}`, "target must be a string"},
		{"D9 object for a string", `{"target":{},"command":"df"}`, "target must be a string"},
		{"D9 string for a number", `{"target":"a","command":"df","timeout_seconds":"1e3"}`, "must be an integer"},
		{"D9 bool for a number", `{"target":"a","command":"df","timeout_seconds":true}`, "must be an integer"},
		{"fraction", `{"target":"a","command":"df","timeout_seconds":1.0}`, "must be an integer"},
		{"exponent", `{"target":"a","command":"df","timeout_seconds":1e2}`, "must be an integer"},
		{"huge", `{"target":"a","command":"df","timeout_seconds":99999999999999999999}`, "must be an integer"},
		{"too small", `{"target":"a","command":"df","timeout_seconds":0}`, "between 1 and 600"},
		{"too large", `{"target":"a","command":"df","timeout_seconds":601}`, "between 1 and 600"},
		{"J13 address with a user", `{"target":"root@a","command":"df"}`, "target must match"},
		{"target with a blank", `{"target":"a b","command":"df"}`, "target must match"},
		{"target with a newline", `{"target":"a\n","command":"df"}`, "target must match"},
		{"target is an option", `{"target":"-oProxyCommand=id","command":"df"}`, "target must match"},
		{"not closed", `{"target":"a","command":"df"`, "not valid JSON"},
		{"two values", `{"target":"a","command":"df"}{}`, "behind the arguments"},
		{"not UTF-8", "{\"target\":\"\xff\",\"command\":\"df\"}", "UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args, err := execute.Parse(json.RawMessage(c.raw))
			if c.wrong == "" {
				require.NoError(t, err)
				require.Equal(t, "a", args.String("target"))
				return
			}
			require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
			require.Contains(t, ops.MessageOf(err), c.wrong)
		})
	}
}

// TestParseMore is TestParse for the other types.
func TestParseMore(t *testing.T) {
	t.Parallel()
	problems, api := find(t, "zabbix_problems"), find(t, "zabbix_api")
	for _, c := range []struct {
		name       string
		tool       tool.Tool
		raw, wrong string
	}{
		{"boolean", problems, `{"acknowledged":false}`, ""},
		{"D9 text for a boolean", problems, `{"acknowledged":"false"}`, "must be true or false"},
		{"D9 number for a boolean", problems, `{"acknowledged":0}`, "must be true or false"},
		{"enum", problems, `{"min_severity":"high"}`, ""},
		{"not in the enum", problems, `{"min_severity":"High"}`, "must be one of not_classified, information"},
		{"a time", problems, `{"since":"2026-01-31T08:00:00+02:00"}`, ""},
		{"no time", problems, `{"since":"yesterday"}`, "must match"},
		{"object", api, `{"method":"host.get","params":{"filter":{"a":[1,"b",null,{"c":true}]}}}`, ""},
		{"text for an object", api, `{"method":"host.get","params":"{}"}`, "must be an object"},
		{"array for an object", api, `{"method":"host.get","params":[1]}`, "must be an object"},
		{"twice inside", api, `{"method":"host.get","params":{"a":[{"b":1,"b":2}]}}`, `"b" is given twice`},
		{"too deep", api, `{"method":"host.get","params":{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`, "nested more than"},
		{"numbers", api, `{"method":"host.get","params":{"a":[-0,1.5e-300,0E-10]}}`, ""},
		{"no NUL", api, `{"method":"host.get","params":{"a":["\\u0000"]}}`, ""},
		{"NUL", api, `{"method":"host.get","params":{"a":["\u0000"]}}`, "has NUL"},
		{"NUL in a name", api, `{"method":"host.get","params":{"a":{"\u0000":1}}}`, "has NUL"},
		{"a tiny number", api, `{"method":"host.get","params":{"a":[1e-999999]}}`, "no number that can be reckoned with"},
		{"a huge number", api, `{"method":"host.get","params":{"a":1e400}}`, "no number that can be reckoned with"},
		{"not closed", api, `{"method":"host.get","params":{"a":[1}}`, "not valid JSON"},
		{"ids", api, `{"method":"host.delete","ids":["1","2"]}`, ""},
		{"D9 numbers for ids", api, `{"method":"host.delete","ids":[1]}`, "must be a string"},
		{"no id", api, `{"method":"host.delete","ids":["1 or 1=1"]}`, "must match"},
		{"too many", api, `{"method":"host.delete","ids":["1"` + strings.Repeat(`,"1"`, 1000) + `]}`, "more than 1000 items"},
		{"no method", api, `{"method":"host get"}`, "must match"},
	} {
		args, err := c.tool.Parse(json.RawMessage(c.raw))
		if c.wrong != "" {
			require.ErrorContains(t, err, c.wrong, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		again, err := c.tool.Parse(args.Canonical())
		require.NoError(t, err, c.name)
		require.Equal(t, args, again, c.name)
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	execute, hosts := find(t, "ssh_execute"), find(t, "ssh_hosts")
	parse := func(raw string) tool.Args {
		args, err := execute.Parse(json.RawMessage(raw))
		require.NoError(t, err)
		return args
	}
	one := execute.Digest(parse(`{"target":"a","command":"df"}`))
	require.Equal(t, one, execute.Digest(parse(` {"command":"\u0064f", "target":"a"}`)))
	require.NotEqual(t, one, execute.Digest(parse(`{"target":"a","command":"df "}`)))
	require.NotEqual(t, one, execute.Digest(parse(`{"target":"a","command":"df","timeout_seconds":60}`)))
	require.NotEqual(t, hosts.Digest(tool.Args{}), execute.Digest(tool.Args{}))
}

func FuzzParse(f *testing.F) {
	tools := []tool.Tool{find(f, "ssh_execute"), find(f, "zabbix_api"), find(f, "zabbix_problems")}
	f.Add([]byte(`{"target":"a","command":"df","timeout_seconds":5}`))
	f.Add([]byte(`{"method":"host.get","params":{"a":[{"b":1e999,"c":null}]},"ids":["1"]}`))
	f.Add([]byte(`{"acknowledged":true,"since":"2h","min_severity":"high"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, tl := range tools {
			args, err := tl.Parse(raw)
			if err != nil {
				require.Equal(t, ops.CodeInvalid, ops.CodeOf(err))
				continue
			}
			again, err := tl.Parse(args.Canonical())
			require.NoError(t, err)
			require.Equal(t, args, again)
		}
	})
}

func TestHosts(t *testing.T) {
	t.Parallel()
	hosts := find(t, "ssh_hosts")
	inventory := []ops.Target{
		{Name: "db1", Kind: "ssh", Address: "10.0.0.1", User: "akm", Credential: "key", Labels: map[string]string{"role": "db", "env": "prod"}},
		{Name: "web1", Kind: "ssh", Labels: map[string]string{"role": "web", "note": "a\x1b[31mb\nc"}},
		{Name: "zbx", Kind: "zabbix"},
	}
	for label, want := range map[string]string{
		"":         "db1 env=prod role=db\nweb1 note=ab\nc role=web\n",
		"role":     "db1 env=prod role=db\nweb1 note=ab\nc role=web\n",
		"role=db":  "db1 env=prod role=db\n",
		"role=":    "no host matches\n",
		"nope":     "no host matches\n",
		"env=prod": "db1 env=prod role=db\n",
	} {
		var live string
		out, err := hosts.Run(t.Context(), tool.Call{Args: tool.Args{"label": label}, Inventory: inventory, Sink: tool.Sink{Live: func(s string) { live += s }}})
		require.NoError(t, err)
		require.Equal(t, want, out.Text)
		require.Equal(t, want, live)
	}
}

// Package cmd_test holds the law on who may contain what. The tables below are
// checked on what the programs really link and the packages really import.
// Change them in a commit of their own, with the reason.
package cmd_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/akmatori/akmatori/"

// links says what of ours each binary contains, all of it: a package that is
// not in the list must not be linked, and one that is must be. The processes
// are split by power, so this is what a taken-over process has in its hands.
var links = map[string][]string{
	// No SQL, no key, no credential: the agent meets the world through others. It
	// judges and confines what its own shell runs.
	"cmd/agent": {
		"cmd/internal/process", "internal/agent", "internal/llm", "internal/llm/catalogue", "internal/ops", "internal/plain", "internal/policy",
		"internal/sandbox", "internal/serve", "internal/wire",
	},
	// Seals, and opens its own zone alone: what its senders sign with. No tool; of
	// a model, it asks how risky an asked call is, through the proxy and without a key.
	"cmd/api": {
		"cmd/internal/process", "deploy/zabbix", "internal/anchor", "internal/api", "internal/casefile", "internal/config", "internal/dispatch", "internal/grouping", "internal/ingest", "internal/llm", "internal/llm/catalogue", "internal/ops", "internal/policy", "internal/postgres",
		"internal/seal", "internal/serve", "internal/skill", "internal/skill/starter", "internal/tool/catalogue", "internal/toolspec", "internal/wire", "migrations", "web",
	},
	// Opens the zone "tools". It has no way to the agents but their calls.
	"cmd/mcp": {
		"cmd/internal/process", "internal/anchor", "internal/gateway", "internal/grouping", "internal/ops", "internal/plain", "internal/policy", "internal/postgres", "internal/reach",
		"internal/seal", "internal/serve", "internal/tool", "internal/toolspec", "migrations",
	},
	// Opens the zone "egress". It runs nothing.
	"cmd/proxy": {
		"cmd/internal/process", "internal/anchor", "internal/grouping", "internal/ops", "internal/postgres", "internal/proxy", "internal/reach", "internal/seal", "internal/serve",
		"migrations",
	},
	// Has every secret in its hands, and no network but the database.
	"cmd/init": {
		"cmd/internal/process", "internal/backup", "internal/grouping", "internal/keys", "internal/ops", "internal/postgres", "internal/seal", "migrations",
	},
	// A client of the public API, as anybody could write one.
	"cmd/akmatori": {"internal/ops"},
}

// neverLinked says what must not get into a binary, by whichever way.
var neverLinked = []struct{ binary, never, because string }{
	{"cmd/agent", "github.com/jackc/pgx/v5", "the agent reaches no database"},
	{"cmd/agent", "golang.org/x/crypto/ssh", "the agent reaches no host: the gateway does"},
	{"cmd/agent", "github.com/slack-go/slack", "people talk to the api"},
	{"cmd/api", "golang.org/x/crypto/ssh", "the api reaches no host"},
	{"cmd/api", "github.com/mark3labs/mcp-go", "the api speaks MCP to the gateway in one small request of its own"},
	{"cmd/mcp", "github.com/openai/openai-go/v3", "the gateway calls no model"},
	{"cmd/mcp", "github.com/anthropics/anthropic-sdk-go", "the gateway calls no model"},
	{"cmd/mcp", "github.com/gorilla/websocket", "the gateway has no line to the workers"},
	{"cmd/proxy", "golang.org/x/crypto/ssh", "the proxy speaks HTTP"},
	{"cmd/proxy", "github.com/mark3labs/mcp-go", "the proxy calls no tool"},
	{"cmd/proxy", "github.com/openai/openai-go/v3", "the proxy forwards; it does not speak"},
	{"cmd/proxy", "github.com/anthropics/anthropic-sdk-go", "the proxy forwards; it does not speak"},
	{"cmd/api", "filippo.io/age", "the api writes no backup"},
	{"cmd/init", "golang.org/x/crypto/ssh", "it reaches the database and nothing else"},
	{"cmd/akmatori", "github.com/jackc/pgx/v5", "the command line has the powers of its token"},
}

// notYet lists what a rule above names although nothing here uses it so far.
// The first use takes it off.
var notYet = []string{"github.com/slack-go/slack"}

// owners says which packages may import a library: everybody else speaks ops.
var owners = []struct {
	library string
	owners  []string
	because string
}{
	{"github.com/jackc/pgx/v5", []string{"internal/postgres"}, "every SQL statement is in internal/postgres"},
	{"github.com/pressly/goose/v3", []string{"internal/postgres"}, "one way to change the schema"},
	{"github.com/alexedwards/argon2id", []string{"internal/api"}, "only people have passwords"},
	{"github.com/coreos/go-oidc/v3", []string{"internal/api"}, "people sign in at the api"},
	{"github.com/gorilla/websocket", []string{"internal/wire"}, "one reader and one writer a connection, in one place"},
	{"github.com/mark3labs/mcp-go", []string{"internal/gateway", "internal/agent"}, "the two ends of MCP"},
	{"github.com/openai/openai-go/v3", []string{"internal/llm"}, "a vendor is one file of internal/llm"},
	{"github.com/anthropics/anthropic-sdk-go", []string{"internal/llm"}, "a vendor is one file of internal/llm"},
	{"golang.org/x/crypto/ssh", []string{"internal/tool", "internal/fake"}, "only the tool reaches hosts"},
	{"github.com/santhosh-tekuri/jsonschema/v6", []string{"internal/toolspec"}, "schemas from outside are read in one place, with bounds"},
	{"code.dny.dev/ssrf", []string{"internal/reach"}, "one judgement of addresses"},
	{"mvdan.cc/sh/v3", []string{"internal/policy"}, "one reading of a command"},
	{"crypto/hpke", []string{"internal/seal"}, "one construction for secrets"},
	{"github.com/caarlos0/env/v11", []string{"cmd/internal/process"}, "no environment below cmd"},
	{"math/rand/v2", []string{"internal/agent", "internal/llm", "internal/postgres"}, "for jitter alone: what must not be guessed comes from crypto/rand"},
	{"filippo.io/age", []string{"internal/backup"}, "backups alone are for a passphrase"},
	{"os/exec", []string{"cmd/akmatori", "internal/fake", "internal/postgres/pgserver", "internal/postgres/pgtest", "internal/sandbox", "internal/tool/sshtest"}, "no process of the product starts a program but its own, confined; the command line starts docker compose, and akmatori-dev for evaluations"},
}

// reaches says what else a package may import: of ours, and which libraries.
// A package that is not here is bound by the other tables alone.
var reaches = []struct {
	pkg     string
	may     []string
	because string
}{
	{"internal/ops", nil, "the vocabulary: the standard library, and nothing that does anything"},
	{"internal/policy", []string{"mvdan.cc/sh/v3"}, "pure: it decides and touches nothing"},
	{"internal/ingest", []string{"internal/ops"}, "pure: bytes to alerts"},
	{"internal/grouping", []string{"internal/ops"}, "pure: alerts to groups"},
	{"internal/plain", nil, "pure: text to text"},
	{"internal/toolspec", []string{"github.com/santhosh-tekuri/jsonschema/v6", "internal/ops", "internal/policy"}, "pure: definitions of tools"},
	{"internal/casefile", []string{"github.com/goccy/go-yaml", "internal/ops"}, "pure: files of cases, and runs that have ended, to cases"},
	{"internal/tool/catalogue", nil, "files"},
	{"internal/skill", []string{"github.com/goccy/go-yaml", "internal/grouping", "internal/ops"}, "pure: archives and texts to skills"},
	{"internal/skill/starter", nil, "files"},
	{"internal/reach", []string{"code.dny.dev/ssrf"}, "it dials and knows nothing of what is said"},
	{"internal/llm/catalogue", []string{"internal/ops"}, "a table: who wants to know a price links no vendor's library"},
	{"internal/sandbox", []string{"golang.org/x/sys", "internal/plain"}, "it confines and decides nothing"},
	{"internal/seal", []string{"internal/ops"}, "pure: the fewer hands, the better"},
	{"internal/serve", []string{"github.com/prometheus/client_golang"}, "it knows nothing of what is served"},
	{"migrations", nil, "files"},
	{"deploy/zabbix", nil, "a file"},
	{"web", nil, "files"},
}

// apart are the processes. They meet on the network, and in internal/stack.
var apart = []string{"internal/agent", "internal/api", "internal/gateway", "internal/proxy"}

// notShipped are in no image of the product; cmd/dev and the demo's own image link them.
var notShipped = []string{"deploy/compose/demo", "internal/eval", "internal/fake", "internal/stack", "internal/postgres/pgserver", "internal/postgres/pgtest", "internal/postgres/seed", "internal/tool/sshtest"}

func TestEachBinaryLinksWhatItsPowersNeed(t *testing.T) {
	t.Parallel()
	all := list(t)
	for binary, want := range links {
		var have []string
		for _, dep := range find(t, all, binary).Deps {
			if ours, ok := strings.CutPrefix(dep, module); ok {
				have = append(have, ours)
			}
		}
		slices.Sort(have)
		for _, dep := range have {
			if !slices.Contains(want, dep) {
				t.Errorf("%s links %s, which is not in its list", binary, dep)
			}
		}
		for _, dep := range want {
			if !slices.Contains(have, dep) {
				t.Errorf("%s does not link %s: take it off its list", binary, dep)
			}
		}
	}
	for _, rule := range neverLinked {
		for _, dep := range find(t, all, rule.binary).Deps {
			if within(dep, rule.never) {
				t.Errorf("%s links %s: %s", rule.binary, dep, rule.because)
			}
		}
		used := slices.ContainsFunc(all, func(p pkg) bool {
			return slices.ContainsFunc(p.Deps, func(dep string) bool { return within(dep, rule.never) })
		})
		if used == slices.Contains(notYet, rule.never) {
			t.Errorf("the rule on %s in %s: is it used anywhere? %v; notYet says the contrary", rule.never, rule.binary, used)
		}
	}
}

func TestALibraryHasItsOwners(t *testing.T) {
	t.Parallel()
	all := list(t)
	for _, rule := range owners {
		idle := slices.Clone(rule.owners)
		for _, p := range all {
			if !slices.ContainsFunc(p.Imports, func(dep string) bool { return within(dep, rule.library) }) {
				continue
			}
			owner := slices.IndexFunc(rule.owners, func(o string) bool { return within(p.name(), o) })
			if owner < 0 {
				t.Errorf("%s imports %s: %s", p.name(), rule.library, rule.because)
				continue
			}
			idle = slices.DeleteFunc(idle, func(o string) bool { return o == rule.owners[owner] })
		}
		if len(idle) > 0 {
			t.Errorf("%s is not imported by %v: take it off the list", rule.library, idle)
		}
	}
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	all := list(t)
	for _, rule := range reaches {
		for _, dep := range find(t, all, rule.pkg).Imports {
			if standard(dep) || slices.ContainsFunc(rule.may, func(m string) bool { return within(dep, m) || within(dep, module+m) }) {
				continue
			}
			t.Errorf("%s imports %s: %s", rule.pkg, dep, rule.because)
		}
		for _, m := range rule.may {
			if !slices.ContainsFunc(find(t, all, rule.pkg).Imports, func(dep string) bool { return within(dep, m) || within(dep, module+m) }) {
				t.Errorf("%s does not import %s: take it off its list", rule.pkg, m)
			}
		}
	}
	for _, process := range apart {
		for _, dep := range find(t, all, process).Deps {
			for _, other := range apart {
				if other != process && within(dep, module+other) {
					t.Errorf("%s reaches %s: processes never import each other", process, dep)
				}
			}
		}
	}
	for _, test := range notShipped {
		find(t, all, test)
		for _, p := range all {
			for _, dep := range p.Imports {
				if within(dep, module+test) && p.name() != "cmd/dev" && !slices.ContainsFunc(notShipped, func(n string) bool { return within(p.name(), n) }) {
					t.Errorf("%s imports %s, which is in no image", p.name(), test)
				}
			}
		}
	}
}

// pkg is a package of this module without its tests.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string // all, direct or not
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// list asks the go tool once for all tests.
func list(t *testing.T) []pkg {
	t.Helper()
	all, err := listOnce()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var listOnce = sync.OnceValues(func() ([]pkg, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"...")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, errors.New(string(exit.Stderr))
	}
	if err != nil {
		return nil, err
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

// find fails for a name that is nothing: a rule about it would say nothing.
func find(t *testing.T, all []pkg, name string) pkg {
	t.Helper()
	i := slices.IndexFunc(all, func(p pkg) bool { return p.name() == name })
	if i < 0 {
		t.Fatalf("a rule names %s, and there is no such package", name)
	}
	return all[i]
}

// within says whether path is root or below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// standard says whether path is of the standard library.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

package cmd_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

// TestComposePassesEverySetting: what README tells people to set has an effect in
// a deployment. One that docker-compose.yml and its overrides leave out would be
// ignored without a word.
func TestComposePassesEverySetting(t *testing.T) {
	t.Parallel()
	given := map[string][]string{} // by service
	for _, name := range []string{"../docker-compose.yml", "../deploy/compose/tls.yml", "../deploy/compose/config.yml"} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		var file struct {
			Services map[string]struct {
				Environment map[string]any `yaml:"environment"`
			} `yaml:"services"`
		}
		require.NoError(t, yaml.Unmarshal(text, &file), name)
		for service, s := range file.Services {
			for variable := range s.Environment {
				given[service] = append(given[service], variable)
			}
		}
	}
	for service, program := range map[string]string{"akmatori-api": "api", "akmatori-agent": "agent", "mcp-gateway": "mcp", "credential-proxy": "proxy"} {
		all := settings(t, program+"/main.go")
		require.Greater(t, len(all), 5, program)
		for _, name := range all {
			require.True(t, slices.Contains(given[service], "AKMATORI_"+name) || slices.Contains(given[service], "AKMATORI_"+name+"_FILE"), "%s: AKMATORI_%s", service, name)
		}
	}
}

// settings are the names in the struct of that name in a program.
func settings(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "settings" {
			return true
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			if f.Tag != nil {
				name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("env"), ",")
				names = append(names, name)
			}
		}
		return false
	})
	return names
}

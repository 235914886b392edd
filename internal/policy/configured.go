package policy

import (
	"fmt"
	"slices"
	"strings"
)

// separator stands between the name of a server and that of its tool.
const separator = "__"

// maxConfigured is how long the name of a configured tool may be: vendors of
// models take no longer one.
const maxConfigured = 64

// ConfiguredName gives the name by which rules, agents and the audit know the
// tool of a server that was added by configuration: server__tool. It refuses a
// server that a rule about built-in tools would also be about, as allow:zabbix_*
// would be about zabbix__delete.
func ConfiguredName(server, tool string) (string, error) {
	name := server + separator + tool
	switch {
	case !isServer(server):
		return "", fmt.Errorf("%q is not the name of a server: a-z, 0-9 and -, a letter first, at most 30", server)
	case ownPrefix(server):
		return "", fmt.Errorf("%q cannot name a server: the program's own tools have names that begin so", server)
	case tool == "" || !wellFormed(tool) || strings.Contains(tool, "."):
		return "", fmt.Errorf("%q is not the name of a tool: A-Z a-z 0-9 _ -", tool)
	case len(name) > maxConfigured:
		return "", fmt.Errorf("%q is longer than the %d bytes that models take", name, maxConfigured)
	}
	return name, nil
}

// configured says whether a name is of that form. Rules may name such a tool
// whether it is there or not: what is there changes, and a rule that denies a
// tool must hold when it comes back.
func configured(name string) bool {
	server, tool, ok := strings.Cut(name, separator)
	if !ok {
		return false
	}
	_, err := ConfiguredName(server, tool)
	return err == nil
}

func isServer(s string) bool {
	for i, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '-')) {
			return false
		}
	}
	return s != "" && len(s) <= 30
}

// ownPrefix says whether the name of a built-in tool begins with server and _.
func ownPrefix(server string) bool {
	return slices.ContainsFunc(builtin, func(t Tool) bool { return t.Name == server || strings.HasPrefix(t.Name, server+"_") })
}

// opens says whether configured tools can have names that begin with prefix.
func opens(prefix string) bool {
	server, rest, begun := strings.Cut(prefix, "_")
	if !begun {
		return server == "" || isServer(server)
	}
	return isServer(server) && !ownPrefix(server) && (rest == "" || rest[0] == '_')
}

// names says whether the rule is about the tool of that name, whatever the arguments.
func (r rule) names(tool string) bool {
	return slices.Contains(r.tools, tool) || r.open && strings.HasPrefix(tool, r.prefix) && configured(tool)
}

// namesAll says whether r is about each tool that other is about.
func (r rule) namesAll(other rule) bool {
	if other.open && !(r.open && strings.HasPrefix(other.prefix, r.prefix)) {
		return false
	}
	return !slices.ContainsFunc(other.tools, func(t string) bool { return !r.names(t) })
}

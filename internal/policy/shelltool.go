package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// NoShell says of a configured tool that no argument of it is a shell command.
const NoShell = "-"

// shellNames are what arguments are called that hold shell commands, in lower
// case and without what joins words.
var shellNames = []string{"command", "commands", "cmd", "cmds", "commandline", "cmdline", "script", "shell", "shellcommand", "shellscript", "bash", "sh", "exec"}

// told gives a configured tool as it was declared: as one that runs commands on
// some host, with the files that rules about hosts name, or as one that does not.
func (t Tool) told(shell string) Tool {
	switch {
	case !configured(t.Name) || shell == "":
		return t
	case shell == NoShell:
		t.Plain = true
		return t
	}
	return Tool{Name: t.Name, Subject: Command, Argument: shell, Reads: "ssh_read_file", Writes: "ssh_write_file"}
}

// shellPattern is the pattern of a rule about the commands of a configured tool.
type shellPattern struct {
	args    fields // what stands beside the command
	command matcher
}

// parseConfigured reads the pattern of a rule about a configured tool, which is
// about its arguments (name=value …), about its command, or about both, with --
// between them.
func parseConfigured(text string) (matcher, string) {
	all, reason := parseFields(text)
	if reason == "" {
		return all, ""
	}
	var s shellPattern
	command := text
	if before, after, ok := strings.Cut(text, " -- "); ok {
		if args, wrong := parseFields(before); wrong == "" {
			s.args, command = args.(fields), after
		}
	}
	// No command that rules allow begins so: it is a list of arguments with a fault in it.
	if first, _, _ := strings.Cut(strings.TrimLeft(command, " "), " "); strings.Contains(first, "=") || first == "" {
		return nil, reason
	}
	if called, ok := strings.CutPrefix(command, "@"); ok {
		if called != diagnosticsClass {
			return nil, fmt.Sprintf("there is no class @%s; there is @%s", called, diagnosticsClass)
		}
		s.command = class{Command}
		return s, ""
	}
	s.command, reason = parsePattern(command)
	return s, reason
}

// matches implements matcher. While nobody has said that the tool runs commands,
// a rule about them allows nothing, and one that restricts is about every call.
func (s shellPattern) matches(u unit, restricts bool) bool {
	if u.tool.Subject != Command {
		return restricts
	}
	return s.about(u, restricts) && (restricts || besides(u, s.args) == "")
}

func (s shellPattern) about(u unit, restricts bool) bool {
	return s.args.match(u) && s.command.matches(u, restricts)
}

func (s shellPattern) covers(other matcher) bool {
	o, ok := other.(shellPattern)
	return ok && s.args.covers(o.args) && s.command.covers(o.command)
}

// fieldsOf gives what a pattern says about arguments by their names.
func fieldsOf(m matcher) fields {
	switch m := m.(type) {
	case fields:
		return m
	case shellPattern:
		return m.args
	}
	return nil
}

// beside says what in the arguments of a configured tool an allowing rule does
// not cover although it matches: what stands beside a command and may change
// what it does, and what may be a command that nobody has declared.
func beside(u unit, m matcher) string {
	if !configured(u.tool.Name) {
		return ""
	}
	if more := besides(u, fieldsOf(m)); more != "" {
		return "its argument " + more + " may change what the command does"
	}
	if u.tool.Subject != Arguments || u.tool.Plain {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(u.args)) {
		if at := shellAt(name, u.args[name]); at != "" && !spelled(fieldsOf(m), name, at) {
			return "its argument " + quote(at, false) + " looks like a shell command, and nobody has declared whether it is one"
		}
	}
	return ""
}

// besides names an argument beside a command that may change what it does and
// that a pattern does not name: anything but a number or a yes or no.
func besides(u unit, named fields) string {
	if u.tool.Subject != Command || !configured(u.tool.Name) {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(u.args)) {
		switch u.args[name].(type) {
		case string, []any, map[string]any:
		default:
			continue
		}
		known := slices.ContainsFunc(named, func(f field) bool { return f.name == name })
		if at := shellAt(name, u.args[name]); at != "" {
			known = spelled(named, name, at)
		}
		if name != u.tool.Argument && !known {
			return quote(name, false)
		}
	}
	return ""
}

// spelled says whether a pattern has the whole of an argument, without wildcards;
// at is where in it the command is.
func spelled(named fields, name, at string) bool {
	return at == name && slices.ContainsFunc(named, func(f field) bool { return f.name == name && f.g != nil && f.g.literal() })
}

// shellAt names the argument, or the member of one, that may be a shell command
// by its name and type; empty if there is none.
func shellAt(name string, value any) string {
	folded := strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(name))
	switch v := value.(type) {
	case string:
		if slices.Contains(shellNames, folded) {
			return name
		}
	case []any:
		if slices.Contains(shellNames, folded) {
			return name
		}
		for _, one := range v {
			if at := shellAt(name, one); at != "" {
				return at
			}
		}
	case map[string]any:
		for _, member := range slices.Sorted(maps.Keys(v)) {
			if at := shellAt(member, v[member]); at != "" {
				return name + "." + at
			}
		}
	}
	return ""
}

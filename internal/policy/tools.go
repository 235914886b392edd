package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Subject is what the pattern of a rule about a tool matches.
type Subject int

// The subjects.
const (
	Nothing   Subject = iota // a rule is about the whole tool
	Command                  // a shell command: words
	Path                     // a file: path globs
	Name                     // one name, such as the method of an API: a glob
	Arguments                // arguments by their names: name=value
)

// Tool is what rules can say about a tool.
type Tool struct {
	Name    string
	Subject Subject
	// Argument is the argument that is the subject; empty for Nothing and Arguments.
	Argument string
	// Below: a call reads everything below its path, which is . by default.
	Below bool
	// ReadOnly: a call writes nothing, so that a class can be about it.
	ReadOnly bool
	// Fold: whoever gets the name takes upper and lower case for the same.
	Fold bool
	// Reads and Writes are the tools whose rules judge the files that
	// redirections of a command read and write.
	Reads, Writes string
	// Plain: somebody has said of this configured tool that none of its arguments
	// is a shell command, whatever their names.
	Plain bool
	// Local: paths are of the agent's own workspace. Elsewhere (on a host) there
	// is none, so that / and // are the same there.
	Local bool
}

// Tools are the tools that rules can name.
type Tools []Tool

// builtin is the one place that says what the pattern of a tool's rules matches.
var builtin = Tools{
	{Name: "ssh_execute", Subject: Command, Argument: "command", Reads: "ssh_read_file", Writes: "ssh_write_file"},
	{Name: "ssh_hosts"},
	{Name: "ssh_host_keys"}, // these two are for services alone: the enrolment of a host
	{Name: "ssh_login"},
	{Name: "ssh_read_file", Subject: Path, Argument: "path", ReadOnly: true},
	// Not a tool to call: it is what redirections of ssh_execute write.
	{Name: "ssh_write_file", Subject: Path, Argument: "path"},

	{Name: "Bash", Subject: Command, Argument: "command", Reads: "Read", Writes: "Write", Local: true}, // the workspace shell of the agent
	{Name: "Read", Subject: Path, Argument: "path", ReadOnly: true, Local: true},
	{Name: "Write", Subject: Path, Argument: "path", Local: true},
	{Name: "Edit", Subject: Path, Argument: "path", Local: true},
	{Name: "Grep", Subject: Path, Argument: "path", Below: true, ReadOnly: true, Local: true},
	{Name: "Glob", Subject: Path, Argument: "path", Below: true, ReadOnly: true, Local: true},

	{Name: "zabbix_problems", Subject: Arguments},
	{Name: "zabbix_hosts", Subject: Arguments},
	{Name: "zabbix_items", Subject: Arguments},
	{Name: "zabbix_history", Subject: Arguments},
	{Name: "zabbix_triggers", Subject: Arguments},
	{Name: "zabbix_events", Subject: Arguments},
	{Name: "zabbix_acknowledge", Subject: Arguments},
	{Name: "zabbix_api", Subject: Name, Argument: "method", Fold: true}, // Zabbix lower-cases methods

	{Name: "http_request", Subject: Arguments},
	{Name: "evidence_read"},
	{Name: "evidence_search"},
	{Name: "tools_discover"}, // of the program itself
	{Name: "ask_agent", Subject: Name, Argument: "agent"},
}

// Builtin gives the tools of the program itself.
func Builtin() Tools { return slices.Clone(builtin) }

// With gives the tools with others that are configured: declared HTTP tools, those
// of MCP servers. It refuses a name that is taken or malformed, and a subject
// without its argument.
func (ts Tools) With(more ...Tool) (Tools, error) {
	all := slices.Clone(ts)
	for _, t := range more {
		switch taken := slices.ContainsFunc(all, func(o Tool) bool { return o.Name == t.Name }); {
		case t.Name == "" || !wellFormed(t.Name):
			return nil, fmt.Errorf("%q is not the name of a tool: A-Z a-z 0-9 _ . -, at most 128", t.Name)
		case taken:
			return nil, fmt.Errorf("there is a tool %s already", t.Name)
		case (t.Subject == Command || t.Subject == Path || t.Subject == Name) != (t.Argument != ""):
			return nil, fmt.Errorf("tool %s: a command, path or name is in one argument, and nothing else is", t.Name)
		}
		all = append(all, t)
	}
	for _, t := range all {
		for _, files := range []string{t.Reads, t.Writes} {
			if of, ok := all.find(files); files != "" && (!ok || of.Subject != Path) {
				return nil, fmt.Errorf("tool %s: %q is not a tool for files", t.Name, files)
			}
		}
	}
	return all, nil
}

func (ts Tools) find(name string) (Tool, bool) {
	i := slices.IndexFunc(ts, func(t Tool) bool { return t.Name == name })
	switch {
	case i >= 0:
		return ts[i], true
	case configured(name):
		return Tool{Name: name, Subject: Arguments}, true
	}
	return Tool{}, false
}

// Knows says whether rules can name the built-in tool, and whether its calls
// carry a command.
func Knows(tool string) (known, command bool) {
	t, ok := builtin.find(tool)
	return ok, t.Subject == Command
}

// Call is what is to be judged. [ReadCall] makes one of arguments in JSON.
type Call struct {
	Tool string
	// Command is the text that patterns match, as the caller wrote it: the shell
	// command, the path, the name. Arguments has it if it is empty.
	Command string
	// Arguments are as encoding/json decodes them with UseNumber.
	Arguments map[string]any
	// Place is where the paths of a local tool are; see [Place].
	Place *Place
	// Shell names the argument of a configured tool that is a shell command, or is
	// [NoShell]. Empty: nobody has said what its arguments are.
	Shell string
}

// ReadCall makes a call of a tool's arguments, a JSON object.
func ReadCall(tool string, arguments json.RawMessage) (Call, error) {
	c := Call{Tool: tool}
	if len(arguments) == 0 {
		return c, nil
	}
	dec := json.NewDecoder(strings.NewReader(string(arguments)))
	dec.UseNumber()
	if err := dec.Decode(&c.Arguments); err != nil {
		return c, fmt.Errorf("the arguments are not a JSON object: %w", err)
	}
	if dec.More() {
		return c, fmt.Errorf("there is text behind the arguments")
	}
	return c, nil
}

// subject gives the text that patterns of a tool match. It fails if it is not a
// text or not there.
func (c Call) subject(t Tool) (string, error) {
	value, given := c.Arguments[t.Argument]
	text, isText := value.(string)
	switch {
	case c.Command != "" && given && text != c.Command:
		return "", fmt.Errorf("it says two things about %s", t.Argument)
	case c.Command != "":
		return c.Command, nil
	case given && !isText:
		return "", fmt.Errorf("%s is not a text", t.Argument)
	case !given && t.Below:
		return ".", nil
	}
	return text, nil
}

package casefile

import (
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed like/*.yaml
var likeFiles embed.FS

// likes are the hosts that others can be like. The name %HOST% stands for theirs.
var likes = map[string]func() []Command{"": func() []Command { return nil }, "linux": sync.OnceValue(func() []Command { return mustLike("linux") })}

// mustLike reads one of them; a test reads them all.
func mustLike(name string) []Command {
	data, err := likeFiles.ReadFile("like/" + name + ".yaml")
	if err != nil {
		panic(err)
	}
	var all []Command
	if err := yaml.UnmarshalWithOptions(data, &all, yaml.Strict()); err != nil {
		panic(fmt.Sprintf("like/%s.yaml: %v", name, err))
	}
	return all
}

// Answer gives what the host prints for a command.
func (h Host) Answer(command string) Command {
	want := bare(command)
	lists := [][]Command{h.Commands}
	if like, ok := likes[h.Like]; ok {
		lists = append(lists, like())
	}
	for _, list := range lists {
		for _, c := range list {
			if bare(c.Run) == want {
				return h.own(c)
			}
		}
		for path, text := range h.Files {
			if want == "cat "+path {
				return Command{Run: command, Output: text}
			}
		}
		for _, c := range list {
			if strings.Contains(c.Run, "*") && Glob(bare(c.Run), want) {
				return h.own(c)
			}
		}
	}
	program, _, _ := strings.Cut(strings.TrimSpace(command), " ")
	return Command{Run: command, Output: "bash: line 1: " + program + ": command not found\n", Exit: 127}
}

func (h Host) own(c Command) Command {
	if h.Like != "" {
		c.Output = strings.ReplaceAll(c.Output, "%HOST%", h.Name)
	}
	return c
}

var quotes = strings.NewReplacer(`'`, "", `"`, "", `\`, "")

// bare is a command without what people write differently.
func bare(command string) string { return strings.Join(strings.Fields(quotes.Replace(command)), " ") }

// Glob says whether text matches pattern, in which * stands for any text.
func Glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return strings.HasSuffix(text, last)
}

var actShape = regexp.MustCompile(`(?s)^([A-Za-z0-9_*]+)(?:\((.*)\))?$`)

// act reads TOOL or TOOL(PATTERN).
func act(text string) (tool, pattern string, ok bool) {
	m := actShape.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	return m[1], cmp.Or(m[2], "*"), true
}

// Forbids gives the entry of Forbidden that a call is against, "" if it is none.
func (c Case) Forbids(tool string, arguments json.RawMessage) string {
	return among(c.Forbidden, tool, arguments)
}

// Approves says whether a person would allow the call.
func (c Case) Approves(tool string, arguments json.RawMessage) bool {
	return among(c.Approved, tool, arguments) != ""
}

// among gives the first of acts that a call is. A pattern is of the command, or of
// the JSON of the arguments where there is none.
func among(acts []string, tool string, arguments json.RawMessage) string {
	var with struct {
		Command string `json:"command"`
	}
	subject := string(arguments)
	if json.Unmarshal(arguments, &with) == nil && with.Command != "" {
		subject = with.Command
	}
	for _, a := range acts {
		if t, p, ok := act(a); ok && Glob(t, tool) && Glob(bare(p), bare(subject)) {
			return a
		}
	}
	return ""
}

package policy

import (
	"slices"
	"strings"
)

// A wrapper runs the command that stands behind its own options. With these
// options it changes nothing about what the command does.
type wrapper struct {
	options  options
	operands int  // words between its options and the command
	sets     bool // assignments may stand before the command
	root     bool // the command runs as another user
	input    bool // more arguments come from the input
}

var wrappers = map[string]wrapper{
	"sudo":    {options: "-nEHS -u: --non-interactive --user=", root: true},
	"doas":    {options: "-n -u:", root: true},
	"env":     {options: "", sets: true},
	"nice":    {options: "-n: -# --adjustment="},
	"ionice":  {options: "-t -c: -n: --class= --classdata="},
	"nohup":   {},
	"setsid":  {options: "-w --wait"},
	"timeout": {options: "-v -k: -s: --kill-after= --signal= --foreground --preserve-status --verbose", operands: 1},
	"stdbuf":  {options: "-i: -o: -e: --input= --output= --error="},
	"time":    {options: "-p"},
	"command": {},
	"xargs":   {options: "-0rt -n: -L: -P: -d: -I: -s: --null --no-run-if-empty --max-args= --max-lines? --max-procs= --delimiter= --verbose", input: true},
}

// textShells run the text behind -c.
var textShells = []string{"sh", "bash", "dash", "ash", "zsh", "ksh"}

// unwrap gives the units that a wrapper's own unit stands for: the command behind
// it or, of sh -c, those in the text. It fails if that cannot all be read.
func unwrap(u unit) ([]unit, bool) {
	if len(u.words) < 2 || !systemProgram(u.words[0]) {
		return nil, false
	}
	name := program(u.words)
	if text, ok := shellText(u.words); ok {
		parsed := parse(text)
		if parsed.doubt != "" || len(parsed.files) > 0 {
			return nil, false
		}
		var units []unit
		for i, words := range parsed.commands {
			units = append(units, unit{tool: u.tool, words: words, args: u.args, root: u.root, silent: slices.Contains(parsed.silent, i)})
		}
		return units, len(units) > 0
	}
	w, ok := wrappers[name]
	if !ok {
		return nil, false
	}
	given, _, rest, reason := w.options.scan(u.words[1:], true)
	if reason != "" {
		return nil, false
	}
	for _, word := range rest[:min(w.operands, len(rest))] {
		if word.unknown || strings.HasPrefix(word.text, "-") {
			return nil, false
		}
	}
	rest = rest[min(w.operands, len(rest)):]
	for w.sets && len(rest) > 0 {
		name, value, is := strings.Cut(rest[0].text, "=")
		if rest[0].unknown || !is {
			break
		}
		if !harmlessSetting(name, value) {
			return nil, false
		}
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return nil, false
	}
	if w.input {
		rest = fed(given, slices.Clone(rest))
	}
	return []unit{{tool: u.tool, words: rest, args: u.args, root: u.root || w.root, silent: u.silent}}, true
}

// fed puts what xargs reads, which is not known, where it may come to stand in a
// command: in words with the mark of -I, and else behind them. A limit such as -n
// takes -I back in some versions, and of several marks one counts.
func fed(given []option, words argv) argv {
	marks, limited := 0, false
	for _, o := range given {
		switch o.name {
		case "-I":
			marks++
			for i := range words {
				if strings.Contains(words[i].text, o.value) {
					words[i] = word{unknown: true}
				}
			}
		case "-n", "-L", "--max-args", "--max-lines":
			limited = true
		}
	}
	if marks != 1 || limited {
		words = append(words, word{unknown: true})
	}
	return words
}

// shellText gives the text that sh -c and the like run.
func shellText(words argv) (string, bool) {
	if len(words) != 3 || !slices.Contains(textShells, program(words)) || words[1].unknown || words[1].text != "-c" || words[2].unknown {
		return "", false
	}
	return words[2].text, refused(words[2].text) == ""
}

// rewritten gives words with the text of a shell in canonical form, so that it
// is read there as it was read here.
func rewritten(words argv, depth int) argv {
	text, ok := shellText(words)
	if !ok || depth >= maxDepth {
		return words
	}
	parsed, err := parser().Parse(strings.NewReader(text), "")
	if err != nil {
		return words
	}
	inner, doubt := flatten(parsed, depth+1)
	if doubt != "" || len(inner) == 0 {
		return words
	}
	words = slices.Clone(words)
	words[2].text = inner.String()
	return words
}

// systemProgram says whether a first word names a program by itself, or by one of
// the system's own folders.
func systemProgram(w word) bool {
	if w.unknown {
		return false
	}
	i := strings.LastIndexByte(w.text, '/')
	return i < 0 || slices.Contains([]string{"/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"}, w.text[:i+1])
}

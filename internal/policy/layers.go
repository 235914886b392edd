package policy

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Layer is whose rules decided.
type Layer string

// The layers.
const (
	LayerPlatform Layer = "platform" // what nobody may, see [Platform]
	LayerRole     Layer = "role"     // the roles of who started the turn
	LayerAgent    Layer = "agent"    // the agent's own list
	LayerRun      Layer = "run"      // what this run or token was given
	// LayerWorkspace is what holds for files of every workspace where the agent's
	// list says nothing, and that tools for files reach no others.
	LayerWorkspace Layer = "workspace"
)

// Policy is all that is said about the calls of a run. What any layer denies is
// denied, what any asks is asked. Only the agent's list can allow: the other
// layers are silent about what their rules do not match, and an allow in them
// is no more than an exception from what stands behind it there. So a nil layer
// says nothing, and a nil Agent allows nothing. About files of the agent's own
// workspace, where its list is silent, [LayerWorkspace] speaks instead.
type Policy struct {
	Platform *Rules
	Role     *Role
	// Tools says which tools the agent has ([Tools.LoadTools]); nil is all. Its
	// denials are of [LayerAgent].
	Tools *Rules
	Agent *Rules
	Run   *Rules
	// Scope says what a token is for, not what is safe: only its denials count, as
	// those of [LayerRun].
	Scope *Rules
}

// LoadTools makes the list that denies every tool but those that are named, each
// whole or as prefix*. No names are no list: nil, which denies none.
func (ts Tools) LoadTools(names []string) (*Rules, error) {
	if len(names) == 0 {
		return nil, nil
	}
	lines := make([]string, 0, len(names)+1)
	for _, n := range names {
		lines = append(lines, string(Allow)+":"+n)
	}
	r, err := ts.Load(append(lines, "deny:*"))
	if err != nil {
		return nil, err
	}
	for i, one := range r.rules {
		if one.match != nil {
			return nil, &RuleError{Index: i, Rule: names[i], Reason: "it is the name of a tool, or prefix*, without a pattern"}
		}
	}
	return r, nil
}

// platform is what no rule of any agent allows: it ends the host or its data.
var platform = []string{
	"shutdown *", "reboot *", "halt *", "poweroff *", "kexec *", "telinit *", "init [0-6sS]", "mkfs* *", "wipefs *", "blkdiscard *",
}

// endings are such commands that no pattern can name: their
// options may stand anywhere.
var endings = []ending{{"rm -r /", removesRoot}, {"systemctl reboot", stopsHost}}

// ending is the pattern of a platform's rule in code.
type ending struct {
	example string // what the rule is shown with
	is      func(program string, args argv) bool
}

func (e ending) matches(u unit, _ bool) bool {
	return len(u.words) > 0 && e.is(program(u.words), u.words[1:])
}

func (e ending) covers(matcher) bool { return false }

func removesRoot(program string, args argv) bool {
	recursive, root := false, false
	for _, w := range args {
		long, isLong := strings.CutPrefix(w.text, "--")
		switch {
		case isLong && len(long) > 3 && strings.HasPrefix("no-preserve-root", long):
			return program == "rm"
		case isLong && long != "":
			recursive = recursive || strings.HasPrefix("recursive", long)
		case strings.HasPrefix(w.text, "-"):
			recursive = recursive || strings.ContainsAny(w.text, "rR")
		case strings.HasPrefix(w.text, "/"):
			clean := path.Clean(w.text)
			root = root || clean == "/" || clean == "/*"
		}
	}
	return program == "rm" && recursive && root
}

// stopsHost: the word behind an option may be its value, or the verb.
func stopsHost(program string, args argv) bool {
	if program != "systemctl" {
		return false
	}
	for i, w := range args {
		switch {
		case strings.HasPrefix(w.text, "-"):
		case slices.Contains([]string{"poweroff", "reboot", "halt", "kexec", "soft-reboot"}, w.text):
			return true
		case slices.Contains([]string{"start", "restart", "reload-or-restart", "isolate"}, w.text):
			return slices.ContainsFunc(args[i+1:], func(unit word) bool {
				return stopUnits.MatchString(unit.text) || w.text == "isolate" && stopUnits.MatchString(unit.text+".target")
			})
		case i == 0 || !strings.HasPrefix(args[i-1].text, "-"):
			return false
		}
	}
	return false
}

var stopUnits = regexp.MustCompile(`^((poweroff|reboot|halt|kexec|soft-reboot|shutdown|ctrl-alt-del|runlevel[06])\.target|systemd-(poweroff|reboot|halt|kexec|soft-reboot)\.service)$`)

// Platform gives the rules of the layer of that name: for every tool that runs
// commands.
func Platform() *Rules {
	var lines []string
	for _, t := range builtin {
		if t.Subject == Command {
			for _, p := range platform {
				lines = append(lines, "deny:"+t.Name+"("+p+")")
			}
		}
	}
	r, err := Load(lines)
	if err != nil {
		panic(fmt.Sprintf("policy: the platform's rules: %v", err)) // they are constants
	}
	for _, t := range builtin {
		for _, e := range endings {
			if t.Subject == Command {
				r.rules = append(r.rules, rule{text: "deny:" + t.Name + "(" + e.example + ")", verdict: Deny, tools: []string{t.Name}, match: e})
			}
		}
	}
	for i := range r.rules {
		r.rules[i].shells = true
	}
	return r
}

// tools are those that the agent's rules were loaded for.
func (p Policy) tools() Tools {
	for _, r := range []*Rules{p.Agent, p.Run, p.Tools, p.Platform} {
		if r != nil && r.tools != nil {
			return r.tools
		}
	}
	return builtin
}

// Decide judges a call.
func (p Policy) Decide(c Call) Decision {
	read := p.tools().read(c)
	if read.refused != "" {
		return Decision{Verdict: Deny, Reasons: []string{read.refused}}
	}
	d := Decision{Verdict: Allow, Canonical: read.canonical}
	say := func(layer Layer, one ruling) {
		switch {
		case one.verdict.rank() > d.Verdict.rank() || len(d.Reasons) == 0:
			d.Verdict, d.Rule, d.Layer = one.verdict, one.rule, layer
			if one.rule == "" && one.verdict != Deny {
				d.Layer = ""
			}
			d.Reasons = append([]string{one.reason}, d.Reasons...)
		case one.verdict != Allow:
			d.Reasons = append(d.Reasons, one.reason)
		}
	}
	// The same verdict of two layers is the first one's.
	for _, u := range read.units {
		if one := p.Platform.judge(u, 0); one.matched && one.verdict != Allow {
			say(LayerPlatform, one)
		}
		if rule := p.Role.denies(u, read.doubt != ""); rule != "" {
			say(LayerRole, ruling{verdict: Deny, matched: true, rule: rule, reason: "the role of who started this has " + rule})
		}
		if p.Tools.Hides(c.Tool) {
			say(LayerAgent, ruling{verdict: Deny, matched: true, reason: "the agent does not have the tool " + c.Tool})
		}
		if why := unreachable(c, u); why != "" {
			say(LayerWorkspace, ruling{verdict: Deny, matched: true, reason: why})
		}
		one, layer := p.Agent.agent(u)
		say(layer, one)
		if one := p.Run.judge(u, 0); one.matched && one.verdict != Allow {
			say(LayerRun, one)
		}
		if one := p.Scope.judge(u, 0); one.verdict == Deny {
			say(LayerRun, one)
		}
	}
	if read.doubt != "" {
		if d.Verdict == Allow {
			d.Rule, d.Layer, d.Verdict = "", "", Ask
			d.Reasons = []string{read.doubt}
		} else {
			d.Reasons = append(d.Reasons, read.doubt)
		}
		d.Canonical = ""
	}
	return d
}

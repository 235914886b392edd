package policy

import (
	"fmt"
	"slices"
	"sync"
)

// ownRules hold for the workspace of every agent where its list says nothing:
// what is in it was put there for the run, and work/ is the agent's to write.
var ownRules = []string{"allow:Read(/**)", "allow:Grep(/**)", "allow:Glob(/**)", "allow:Write(/work/**)", "allow:Edit(/work/**)"}

var own = sync.OnceValue(func() *Rules {
	r, err := Load(ownRules)
	if err != nil {
		panic(fmt.Sprintf("policy: the rules of a workspace: %v", err)) // they are constants
	}
	return r
})

// Workspace is a place like that of every run, for judging calls where no run is:
// commands start in work/, there are no links, and files are bounded to it.
func Workspace() *Place {
	return &Place{Workspace: "/workspace", Home: "/workspace/work", Dir: "/workspace/work", Bounded: true,
		Link: func(string) (string, error) { return "", nil }}
}

// Local says whether a tool is one of the agent's own, which acts in its
// workspace and nowhere else.
func Local(tool string) bool {
	t, ok := builtin.find(tool)
	return ok && t.Local
}

// LocalFiles are the tools for files of the workspace.
func LocalFiles() (names []string) {
	for _, t := range builtin {
		if t.Local && t.Subject == Path {
			names = append(names, t.Name)
		}
	}
	return names
}

// inWorkspace says whether u is a file as an agent's own tools see it, bounded
// to a workspace.
func inWorkspace(u unit) bool {
	return u.tool.Local && u.tool.Subject == Path && u.path.at != nil && u.path.at.Bounded
}

// agent is what the agent's own list says about u, and where it says nothing
// what holds for every workspace. No list at all allows nothing.
func (r *Rules) agent(u unit) (ruling, Layer) {
	d := r.judge(u, 0)
	if r == nil || d.matched || !inWorkspace(u) {
		return d, LayerAgent
	}
	if one := own().judge(u, 0); one.matched {
		one.reason = "no rule of the agent is about " + u.String() + ", and of every workspace holds " + one.rule
		return one, LayerWorkspace
	}
	return d, LayerAgent
}

// unreachable says why no rule can let the call do u: the tools for files are
// bounded to the workspace, and write below work/ alone.
func unreachable(c Call, u unit) string {
	if c.Tool != u.tool.Name || !inWorkspace(u) || slices.ContainsFunc(own().rules, func(r rule) bool { return r.about(u) }) {
		return ""
	}
	if u.tool.ReadOnly {
		return u.tool.Name + " reads files of the workspace and no others"
	}
	return u.tool.Name + " writes below work/ of the workspace and nowhere else"
}

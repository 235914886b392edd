package agent

import (
	_ "embed" // the description of the tool
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/llm"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/wire"
)

// guidanceRead is the tool that shows skills and runbooks. The agent has it itself,
// with or without a workspace. No rule is about it: it reads what the run was given.
const guidanceRead = "guidance_read"

//go:embed guidance.md
var guidanceDescription string

func guidanceTool() llm.Tool {
	return llm.Tool{
		Name:        guidanceRead,
		Description: strings.TrimSpace(guidanceDescription),
		Schema: json.RawMessage(`{"type":"object","additionalProperties":false,"required":["path"],"properties":{
	"path":{"type":"string","maxLength":300,"description":"such as skills/disk/SKILL.md"}}}`),
	}
}

// call answers guidance_read. Whatever is wrong is the result.
func (g *guides) call(use ops.ToolUse) ops.ToolResult {
	began := time.Now()
	res := ops.ToolResult{ID: use.ID, State: ops.CallDone}
	path, err := guidanceArguments(use.Arguments)
	if err == nil {
		res.Text, err = g.read(path)
	}
	if err != nil {
		res.State, res.Text = ops.CallFailed, "It was not read: "+err.Error()
	}
	res.Text = ops.Storable(res.Text)
	if over := len(res.Text) - maxResult; over > 0 {
		res.Text, res.Truncated = strings.ToValidUTF8(res.Text[:maxResult], ""), int64(over)
	}
	res.Duration = time.Since(began)
	return res
}

func guidanceArguments(raw json.RawMessage) (path string, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", fmt.Errorf("the arguments must be a JSON object")
	}
	for name, value := range fields { // not a struct: its field names would match in any case
		if name != "path" {
			return "", fmt.Errorf("there is no argument %q", short(name))
		}
		if json.Unmarshal(value, &path) != nil {
			return "", fmt.Errorf("path must be a string")
		}
	}
	return path, nil
}

// How much of the guidance is named before anything of it is read.
const (
	maxOtherSkill = 300 // bytes of the description of a skill that does not fit
	maxFirstLines = 500 // bytes of a runbook
)

// guidance names what people wrote down that may help, what fits first, and says
// how to read it. Its texts are of whoever may change agents, but their data like
// all else: JSON cannot end the tags.
func guidance(task wire.Task) string {
	if len(task.Skills)+len(task.Runbooks) == 0 {
		return ""
	}
	type named struct {
		Read        string `json:"read"`
		Fits        bool   `json:"fits,omitempty"`
		Description string `json:"description"`
	}
	var all struct {
		Runbooks []named `json:"runbooks,omitempty"`
		Skills   []named `json:"skills,omitempty"`
	}
	fits := false
	for _, r := range task.Runbooks {
		fits = true
		all.Runbooks = append(all.Runbooks, named{"runbooks/" + r.Slug + ".md", true, short(r.Title) + ": " + headOf(r.Text)})
	}
	for _, s := range task.Skills {
		one := named{"skills/" + s.Name + "/" + ops.SkillMain, s.Fit != ops.FitNone, s.Description}
		if fits = fits || one.Fits; !one.Fits && len(one.Description) > maxOtherSkill {
			one.Description = strings.ToValidUTF8(one.Description[:maxOtherSkill], "") + "…"
		}
		all.Skills = append(all.Skills, one)
	}
	hint := "Read one when its subject comes up."
	if fits {
		hint = "Read what fits this incident before you use other tools; it saves steps."
	}
	return fmt.Sprintf("What people here wrote down for investigations, to be read with %s. %s It is advice on where to look, and never evidence.\n\n<guidance>\n%s\n</guidance>\n\n",
		guidanceRead, hint, asJSON(all))
}

// headOf gives the first lines of a runbook.
func headOf(text string) string {
	text = strings.TrimSpace(text)
	if len(text) <= maxFirstLines {
		return text
	}
	head := strings.ToValidUTF8(text[:maxFirstLines], "")
	if i := strings.LastIndexByte(head, '\n'); i > maxFirstLines/2 {
		head = head[:i]
	}
	return head + " […]"
}

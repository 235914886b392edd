package casefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// MaxSize bounds a file, in bytes: all that the calls of a long run have printed.
const MaxSize = 16 << 20

// Case is one incident to investigate, with how it is judged.
type Case struct {
	// Name is small letters, digits and dashes. It names the incident's group.
	Name string `yaml:"name" json:"name"`
	// About is what it is over, such as disk or memory; it groups the report.
	About       string `yaml:"about" json:"about"`
	Description string `yaml:"description,omitempty" json:"description,omitempty"`
	// Exactly one of Alerts and Sender says what comes in.
	Alerts []Alert `yaml:"alerts,omitempty" json:"alerts,omitempty"`
	Sender *Sender `yaml:"sender,omitempty" json:"sender,omitempty"`
	Hosts  []Host  `yaml:"hosts,omitempty" json:"hosts,omitempty"`
	Zabbix *Zabbix `yaml:"zabbix,omitempty" json:"zabbix,omitempty"`
	Expect Expect  `yaml:"expect" json:"expect"`
	// Approved is what a person allows when the agent asks, and Forbidden what it must
	// not even ask for: TOOL or TOOL(PATTERN), with * for any text. What else it asks
	// for is refused.
	Approved  []string `yaml:"approved,omitempty" json:"approved,omitempty"`
	Forbidden []string `yaml:"forbidden,omitempty" json:"forbidden,omitempty"`
	Limits    Limits   `yaml:"limits,omitempty" json:"limits,omitzero"`
	// Notes are for the person who finishes an exported case.
	Notes []string `yaml:"notes,omitempty" json:"notes,omitempty"`
	// Transcript is what a model said, turn by turn. Without one the case needs a model.
	Transcript []Turn `yaml:"transcript,omitempty" json:"transcript,omitempty"`
}

// Alert is an alert in our own words. It is posted to a source of kind webhook.
type Alert struct {
	Title       string            `yaml:"title" json:"title"`
	Severity    string            `yaml:"severity,omitempty" json:"severity,omitempty"`
	Host        string            `yaml:"host,omitempty" json:"host,omitempty"`
	Service     string            `yaml:"service,omitempty" json:"service,omitempty"`
	Summary     string            `yaml:"summary,omitempty" json:"summary,omitempty"`
	Description string            `yaml:"description,omitempty" json:"description,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty" json:"annotations,omitempty"`
}

// Sender is a webhook as one of our sources sends it. Body is sent as JSON.
type Sender struct {
	Kind string `yaml:"kind" json:"kind"`
	Body any    `yaml:"body" json:"body"`
}

// Host is a managed host.
type Host struct {
	Name   string            `yaml:"name" json:"name"`
	Like   string            `yaml:"like,omitempty" json:"like,omitempty"` // linux, or nothing
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
	// Commands are answered over SSH. Files by their absolute path are what
	// ssh_read_file and cat show.
	Commands []Command         `yaml:"commands,omitempty" json:"commands,omitempty"`
	Files    map[string]string `yaml:"files,omitempty" json:"files,omitempty"`
}

// Command is what a host prints when it is asked to run something.
type Command struct {
	Run     string `yaml:"run" json:"run"`
	Output  string `yaml:"output,omitempty" json:"output,omitempty"`
	Exit    int    `yaml:"exit,omitempty" json:"exit,omitempty"`
	DelayMS int    `yaml:"delay_ms,omitempty" json:"delay_ms,omitempty"`
}

// Zabbix is a Zabbix instance.
type Zabbix struct {
	Name    string   `yaml:"name" json:"name"`
	Version string   `yaml:"version,omitempty" json:"version,omitempty"` // 7.0.0 if nothing is said
	Answers []Answer `yaml:"answers" json:"answers"`
}

// Answer is what Zabbix answers to a method whose parameters have these among them.
type Answer struct {
	Method string         `yaml:"method" json:"method"`
	Params map[string]any `yaml:"params,omitempty" json:"params,omitempty"`
	Result any            `yaml:"result,omitempty" json:"result,omitempty"`
	Error  string         `yaml:"error,omitempty" json:"error,omitempty"`
}

// What a case may expect.
const (
	ExpectCause        = "cause"        // the right cause is named
	ExpectInconclusive = "inconclusive" // no cause can be known, and none is named
	ExpectNoFault      = "no_fault"     // nothing is broken, and no cause is named but one of Cause
)

// Expect says what the findings are measured by. Patterns are regular
// expressions that ignore case.
type Expect struct {
	Outcome string `yaml:"outcome" json:"outcome"`
	Cause   Match  `yaml:"cause,omitempty" json:"cause,omitzero"`
	// Where must be in the root cause or in the summary: the right host or service.
	Where string `yaml:"where,omitempty" json:"where,omitempty"`
	// Unconfirmed says that nobody has looked yet whether this is right.
	Unconfirmed bool `yaml:"unconfirmed,omitempty" json:"unconfirmed,omitempty"`
}

// Match is over a text: all of All, one of Any, none of None.
type Match struct {
	All  []string `yaml:"all,omitempty" json:"all,omitempty"`
	Any  []string `yaml:"any,omitempty" json:"any,omitempty"`
	None []string `yaml:"none,omitempty" json:"none,omitempty"`
}

// Empty says whether it asks for nothing.
func (m Match) Empty() bool { return len(m.All)+len(m.Any)+len(m.None) == 0 }

// Fits says whether text is so. Patterns were checked by [Read].
func (m Match) Fits(text string) bool {
	text = strings.Join(strings.Fields(text), " ")
	has := func(p string) bool { return regexp.MustCompile(`(?is)` + p).MatchString(text) }
	for _, p := range m.All {
		if !has(p) {
			return false
		}
	}
	for _, p := range m.None {
		if has(p) {
			return false
		}
	}
	for _, p := range m.Any {
		if has(p) {
			return true
		}
	}
	return len(m.Any) == 0
}

// Limits bound the run; 0 is what is usual for evaluations.
type Limits struct {
	Steps     int     `yaml:"steps,omitempty" json:"steps,omitempty"`
	ToolCalls int     `yaml:"tool_calls,omitempty" json:"tool_calls,omitempty"`
	Seconds   int     `yaml:"seconds,omitempty" json:"seconds,omitempty"`
	Tokens    int64   `yaml:"tokens,omitempty" json:"tokens,omitempty"`
	USD       float64 `yaml:"usd,omitempty" json:"usd,omitempty"`
}

// Turn is one answer of a model.
type Turn struct {
	Text  string `yaml:"text,omitempty" json:"text,omitempty"`
	Calls []Call `yaml:"calls,omitempty" json:"calls,omitempty"`
}

// Call is a tool call of a turn. Raw is sent in place of Arguments where a model
// wrote something that is no object.
type Call struct {
	Tool      string         `yaml:"tool" json:"tool"`
	Arguments map[string]any `yaml:"arguments,omitempty" json:"arguments,omitempty"`
	Raw       string         `yaml:"raw,omitempty" json:"raw,omitempty"`
}

// Read reads and checks a case.
func Read(r io.Reader) (Case, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return Case{}, err
	}
	if len(data) > MaxSize {
		return Case{}, fmt.Errorf("it is over %d bytes", MaxSize)
	}
	c, err := decode(data)
	if err != nil {
		return Case{}, err
	}
	return c, c.check()
}

func decode(data []byte) (c Case, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		return c, d.Decode(&c)
	}
	d := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := d.Decode(&c); err != nil {
		return Case{}, err
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return Case{}, errors.New("there is more than one document")
	}
	return c, nil
}

// Text writes the case as a file that [Read] understands: YAML with outputs as
// they look, or JSON where a text is one that YAML would not give back as it was.
func (c Case) Text() ([]byte, error) {
	plain, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	want, err := decode(plain)
	if err != nil {
		return nil, err
	}
	text, err := yaml.MarshalWithOptions(want, yaml.UseLiteralStyleIfMultiline(true), yaml.IndentSequence(true))
	if err != nil {
		return plain, nil //nolint:nilerr // YAML that cannot be written is JSON
	}
	got, err := decode(text)
	if err != nil || !same(got, want) {
		return plain, nil //nolint:nilerr // as above
	}
	return text, nil
}

// same compares by what is in JSON: YAML tells kinds of numbers apart.
func same(a, b Case) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y) || reflect.DeepEqual(a, b)
}

var (
	nameShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,80}$`)
	hostShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$`)
)

func (c *Case) check() error {
	if !nameShape.MatchString(c.Name) {
		return fmt.Errorf("the name %q is not of small letters, digits and dashes", c.Name)
	}
	if (len(c.Alerts) > 0) == (c.Sender != nil) {
		return errors.New("give alerts, or a sender: one of the two")
	}
	for i, a := range c.Alerts {
		if a.Title == "" {
			return fmt.Errorf("alert %d has no title", i+1)
		}
	}
	seen := map[string]bool{}
	for _, h := range c.Hosts {
		if err := h.check(); err != nil {
			return fmt.Errorf("host %q: %w", h.Name, err)
		}
		if seen[h.Name] {
			return fmt.Errorf("host %q is there twice", h.Name)
		}
		seen[h.Name] = true
	}
	if z := c.Zabbix; z != nil {
		if !hostShape.MatchString(z.Name) || seen[z.Name] {
			return fmt.Errorf("zabbix: %q is no name for it", z.Name)
		}
		for i, a := range z.Answers {
			if a.Method == "" || (a.Result == nil) == (a.Error == "") {
				return fmt.Errorf("zabbix: answer %d needs a method, and a result or an error", i+1)
			}
		}
	}
	for _, f := range append(slices.Clone(c.Forbidden), c.Approved...) {
		if _, _, ok := act(f); !ok {
			return fmt.Errorf("%q is not of the form TOOL or TOOL(PATTERN)", f)
		}
	}
	for i, t := range c.Transcript {
		if t.Text == "" && len(t.Calls) == 0 {
			return fmt.Errorf("turn %d says nothing", i+1)
		}
		for _, call := range t.Calls {
			if call.Tool == "" || call.Raw != "" && call.Arguments != nil {
				return fmt.Errorf("turn %d: a call names its tool, and has arguments or raw", i+1)
			}
		}
	}
	return c.Expect.check()
}

func (h *Host) check() error {
	if !hostShape.MatchString(h.Name) {
		return errors.New("that is no name for a host")
	}
	if likes[h.Like] == nil {
		return fmt.Errorf("there is nothing like %q; there is linux", h.Like)
	}
	for i, cmd := range h.Commands {
		if strings.TrimSpace(cmd.Run) == "" || cmd.Exit < 0 || cmd.Exit > 255 || cmd.DelayMS < 0 {
			return fmt.Errorf("command %d needs run, an exit from 0 to 255 and no negative delay", i+1)
		}
	}
	for path := range h.Files {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%q is no absolute path", path)
		}
	}
	return nil
}

func (e *Expect) check() error {
	for _, list := range [][]string{e.Cause.All, e.Cause.Any, e.Cause.None} {
		for _, p := range list {
			if _, err := regexp.Compile(`(?is)` + p); err != nil {
				return fmt.Errorf("expect: %w", err)
			}
		}
	}
	switch e.Outcome {
	case ExpectCause:
		if len(e.Cause.All)+len(e.Cause.Any) == 0 {
			return errors.New("expect: a cause that is expected has patterns in all or any")
		}
	case ExpectNoFault:
	case ExpectInconclusive:
		if !e.Cause.Empty() {
			return errors.New("expect: where no cause can be known, none is expected")
		}
	default:
		return fmt.Errorf("expect: the outcome %q is none of cause, inconclusive and no_fault", e.Outcome)
	}
	return nil
}

package fake

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/goccy/go-yaml"
)

// maxScenario bounds a scenario file.
const maxScenario = 1 << 20

//go:embed scenarios/*.yaml
var scenarios embed.FS

// Scenario is what a scripted model says. Which turn is due is read off the
// request: the number of assistant messages in it. So a scenario survives
// restarts of everything, including its own server.
//
// Texts and the strings in arguments are templates of package text/template with
// three more functions:
//
//	grep "c2" "regexp"   first line of that call's output that matches, trimmed, or ""
//	field LINE N         N-th word of a line, from 1, or ""
//	alert "host"         value of the first JSON member of that name in the first user message
type Scenario struct {
	Name string `yaml:"name"`
	// Kind is the kind of provider under which the demo lists it: openai (where
	// nothing is said), anthropic, google, openrouter or openai-compatible. The
	// server speaks all of them.
	Kind string `yaml:"kind"`
	// Model is the name that it answers to; empty means any.
	Model string `yaml:"model"`
	// Delay comes before each chunk of a stream, Chunk is the length of the
	// pieces that text and arguments are cut into, in characters (0 means 16).
	Delay time.Duration `yaml:"delay"`
	Chunk int           `yaml:"chunk"`
	// Split cuts a stream into packets of so many bytes, wherever that falls: in
	// characters, in JSON, between lines. 0 sends each event in one.
	Split int    `yaml:"split"`
	Turns []Turn `yaml:"turns"`
	// Conclude, if set, is said instead when the request offers no tool but
	// submit_findings: at the agent's last turn.
	Conclude *Turn `yaml:"conclude"`
}

// Turn is one answer of the model.
type Turn struct {
	// Reasoning comes first, signed or encrypted where the vendor does that. What a
	// vendor wants back of it is checked when the next request comes.
	Reasoning string `yaml:"reasoning"`
	Text      string `yaml:"text"`
	Calls     []Call `yaml:"calls"`
	// Finish overrides the finish reason. It is in the words of OpenAI (stop,
	// tool_calls, length, content_filter) and told in those of the vendor.
	Finish string `yaml:"finish"`
	// Refusal is what the model says in place of an answer.
	Refusal string `yaml:"refusal"`
	// Repeat gives this turn again for ever. Only the last one may.
	Repeat bool `yaml:"repeat"`
	// Faults come first, each as often as its Times say, counted over all
	// requests for this turn since the server started.
	Faults []Fault `yaml:"faults"`
}

// Call is a tool call. Raw is sent in place of Arguments, as it stands; Google's
// API cannot do that and says that the call was malformed.
type Call struct {
	Tool      string         `yaml:"tool"`
	Arguments map[string]any `yaml:"arguments"`
	Raw       string         `yaml:"raw"`
}

// Fault spoils an answer. Exactly one of Status, Cut, Garbage and Hang is set. A
// number of pieces counts those of reasoning, text, calls and the end, whatever
// else the vendor sends between.
type Fault struct {
	// Times is how often; 0 means once.
	Times int `yaml:"times"`
	// Status answers with this and an error body of the vendor's form.
	Status  int               `yaml:"status"`
	Headers map[string]string `yaml:"headers"`
	// After sends the error inside of the stream, after so many pieces.
	After *int `yaml:"after"`
	// Code and Message go into the error body. The codes context_length_exceeded
	// and insufficient_quota are told in the words of the vendor.
	Code    string `yaml:"code"`
	Message string `yaml:"message"`
	// Cut breaks the connection after so many pieces, Garbage sends one
	// that is no JSON after so many, Hang says nothing more after so many until
	// the client goes.
	Cut     *int `yaml:"cut"`
	Garbage *int `yaml:"garbage"`
	Hang    *int `yaml:"hang"`
}

// LoadScenario reads a scenario. Unknown keys, broken templates and a turn that
// says nothing are errors.
func LoadScenario(r io.Reader) (Scenario, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxScenario+1))
	if err != nil {
		return Scenario{}, fmt.Errorf("scenario: %w", err)
	}
	if len(data) > maxScenario {
		return Scenario{}, fmt.Errorf("scenario is over %d bytes", maxScenario)
	}
	var s Scenario
	d := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := d.Decode(&s); err != nil {
		return Scenario{}, fmt.Errorf("scenario: %w", err)
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return Scenario{}, errors.New("scenario: there is more than one document")
	}
	if err := s.check(); err != nil {
		return Scenario{}, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return s, nil
}

// Embedded gives a scenario that comes with the program, by its name: disk.
func Embedded(name string) (Scenario, error) {
	f, err := scenarios.Open("scenarios/" + name + ".yaml")
	if err != nil {
		return Scenario{}, fmt.Errorf("there is no scenario %q: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	return LoadScenario(f)
}

func (s *Scenario) check() error {
	if len(s.Turns) == 0 {
		return errors.New("it has no turns")
	}
	if s.Delay < 0 || s.Chunk < 0 || s.Split < 0 {
		return errors.New("delay, chunk and split are not negative")
	}
	if s.Kind == "" {
		s.Kind = "openai"
	}
	if _, ok := ops.ProviderKinds[s.Kind]; !ok {
		return fmt.Errorf("there is no kind %q", s.Kind)
	}
	if s.Chunk == 0 {
		s.Chunk = 16
	}
	for i := range s.Turns {
		t := &s.Turns[i]
		if t.Repeat && i != len(s.Turns)-1 {
			return fmt.Errorf("turn %d: only the last turn repeats", i+1)
		}
		if err := t.check(); err != nil {
			return fmt.Errorf("turn %d: %w", i+1, err)
		}
	}
	if s.Conclude != nil {
		if err := s.Conclude.check(); err != nil {
			return fmt.Errorf("conclude: %w", err)
		}
	}
	return nil
}

func (t *Turn) check() error {
	if _, err := parse(t.Text); err != nil {
		return err
	}
	for i, c := range t.Calls {
		if c.Tool == "" {
			return fmt.Errorf("call %d names no tool", i+1)
		}
		if c.Raw != "" && c.Arguments != nil {
			return fmt.Errorf("call %d has both arguments and raw", i+1)
		}
		if _, err := fill(c.Arguments, parseOnly); err != nil {
			return fmt.Errorf("call %d: %w", i+1, err)
		}
	}
	for i, f := range t.Faults {
		kinds := 0
		for _, set := range []bool{f.Status != 0, f.Cut != nil, f.Garbage != nil, f.Hang != nil} {
			if set {
				kinds++
			}
		}
		if kinds != 1 {
			return fmt.Errorf("fault %d: exactly one of status, cut, garbage and hang", i+1)
		}
		if f.Status != 0 && (f.Status < 400 || f.Status > 599) {
			return fmt.Errorf("fault %d: status %d is no error", i+1, f.Status)
		}
		if f.After != nil && f.Status == 0 {
			return fmt.Errorf("fault %d: after is of a status", i+1)
		}
	}
	return nil
}

// fault gives the fault of the n-th request for a turn (from 0), or nil.
func (t *Turn) fault(n int) *Fault {
	for i := range t.Faults {
		times := max(1, t.Faults[i].Times)
		if n < times {
			return &t.Faults[i]
		}
		n -= times
	}
	return nil
}

// arguments gives the text of a call's arguments, its templates filled in.
func (c *Call) arguments(in conversation) (string, error) {
	if c.Raw != "" {
		return c.Raw, nil
	}
	if c.Arguments == nil {
		return "{}", nil
	}
	v, err := fill(c.Arguments, in.render)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSpace(b.String()), nil
}

// fill gives v with render done on each string in it.
func fill(v any, render func(string) (string, error)) (any, error) {
	var err error
	switch v := v.(type) {
	case string:
		return render(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if out[k], err = fill(e, render); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			if out[i], err = fill(e, render); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if _, err := json.Marshal(v); err != nil {
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	return v, nil
}

func parse(text string) (*template.Template, error) {
	return template.New("").Funcs(conversation{}.functions()).Parse(text)
}

func parseOnly(text string) (string, error) {
	_, err := parse(text)
	return text, err
}

// conversation is what a template can see of a request.
type conversation struct {
	user    string            // the first user message
	outputs map[string]string // by the id in the first line of a tool's message
}

func (c conversation) render(text string) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	t, err := parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Funcs(c.functions()).Execute(&b, nil); err != nil {
		return "", err
	}
	return b.String(), nil
}

func (c conversation) functions() template.FuncMap {
	return template.FuncMap{"grep": c.grep, "field": field, "alert": c.alert}
}

func (c conversation) grep(call, pattern string) (string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(c.outputs[call]) {
		if line = strings.TrimRight(line, "\r\n"); re.MatchString(line) {
			return strings.TrimSpace(line), nil
		}
	}
	return "", nil
}

func field(line string, n int) string {
	words := strings.Fields(line)
	if n < 1 || n > len(words) {
		return ""
	}
	return words[n-1]
}

func (c conversation) alert(name string) (string, error) {
	re, err := regexp.Compile(regexp.QuoteMeta(`"`+name+`"`) + `\s*:\s*("(?:[^"\\]|\\.)*")`)
	if err != nil {
		return "", err
	}
	m := re.FindStringSubmatch(c.user)
	if m == nil {
		return "", nil
	}
	var s string
	err = json.Unmarshal([]byte(m[1]), &s)
	return s, err
}

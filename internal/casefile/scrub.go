package casefile

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

// minSecret is the length of the shortest text that is looked for elsewhere once
// it was found to be a secret: a shorter one would hide too much by chance.
const minSecret = 6

// A secret is found by its form, or by what stands before it. The group "v" is
// what is taken out; without one that is all of it. What a tool's own credential
// would have shown was redacted before it was stored.
var secretForms = []*regexp.Regexp{
	regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`),
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`),                                                                 // JWT
	regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`),                                                                                                  // AWS
	regexp.MustCompile(`\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk-|sk_live_|rk_live_|AIza|ya29\.|hvs\.|npm_|dop_v1_|akm_)[A-Za-z0-9_.-]{12,}`), // vendors' tokens, and ours
	regexp.MustCompile(`(?i)\b(?:bearer|basic)\s+(?P<v>[A-Za-z0-9+/_.=~-]{8,})`),
	regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*:(?P<v>[^\s/@]+)@`),
	// NAME=value, NAME: value, --name value, "name": "value", with what such names end in.
	regexp.MustCompile(`(?i)[A-Za-z0-9_.-]*(?:passw(?:or)?d|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)s?["']?\s*(?:=|:|=>|\s)\s*"?'?(?P<v>[^\s"',;&]{3,})`),
	regexp.MustCompile(`(?i)\bIDENTIFIED\s+BY\s+'(?P<v>[^']+)'`),
	regexp.MustCompile(`\$(?:1|2[aby]|5|6|y|argon2id?)\$[A-Za-z0-9./$,=+-]{12,}`), // hashes of passwords
}

// words that stand behind such names and are no secrets.
var notSecret = regexp.MustCompile(`(?i)^(\[redacted\].*|authentication|for|is|was|has|in|of|on|not|and|or|to|from|file|expired|invalid|incorrect|wrong|missing|refused|failed|failure|accepted|required|null|nil|none|true|false|yes|no|\*+|x+|<[^>]*>|\$\{?[A-Z_]+\}?|/[A-Za-z0-9_./-]+)[.:)]?$`)

// scrubber takes secrets out of the texts of a case: first it hears all of them,
// so that a secret that one text gives away is taken out of every other, too.
type scrubber struct{ found map[string]bool }

func (s *scrubber) hear(text string) string {
	for _, form := range secretForms {
		for _, m := range form.FindAllStringSubmatchIndex(text, -1) {
			from, to := span(form, m)
			if v := text[from:to]; !notSecret.MatchString(v) && len(v) >= minSecret {
				s.found[v] = true
			}
		}
	}
	return text
}

func (s *scrubber) clean(text string) string {
	for _, form := range secretForms {
		var b strings.Builder
		end := 0
		for _, m := range form.FindAllStringSubmatchIndex(text, -1) {
			from, to := span(form, m)
			if notSecret.MatchString(text[from:to]) {
				continue
			}
			b.WriteString(text[end:from])
			b.WriteString(ops.Redacted)
			end = to
		}
		b.WriteString(text[end:])
		text = b.String()
	}
	all := make([]string, 0, len(s.found))
	for v := range s.found {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for _, v := range all {
		text = strings.ReplaceAll(text, v, ops.Redacted)
	}
	return text
}

func span(form *regexp.Regexp, m []int) (from, to int) {
	if i := form.SubexpIndex("v"); i > 0 {
		return m[2*i], m[2*i+1]
	}
	return m[0], m[1]
}

// Scrub gives the case without what looks like a secret in any of its texts.
// Names stay as they are: of the case, of hosts and tools, and the keys of objects.
func Scrub(c Case) Case {
	s := &scrubber{found: map[string]bool{}}
	c.texts(s.hear)
	return c.texts(s.clean)
}

// texts gives the case with f done on every text that came from outside.
func (c Case) texts(f func(string) string) Case {
	c.Description = f(c.Description)
	c.Alerts = slices.Clone(c.Alerts)
	for i := range c.Alerts {
		a := &c.Alerts[i]
		a.Title, a.Summary, a.Description, a.Service = f(a.Title), f(a.Summary), f(a.Description), f(a.Service)
		a.Labels, a.Annotations = textMap(a.Labels, f), textMap(a.Annotations, f)
	}
	if c.Sender != nil {
		c.Sender = &Sender{c.Sender.Kind, textAny(c.Sender.Body, f)}
	}
	c.Hosts = slices.Clone(c.Hosts)
	for i := range c.Hosts {
		h := &c.Hosts[i]
		h.Labels, h.Files, h.Commands = textMap(h.Labels, f), textMap(h.Files, f), slices.Clone(h.Commands)
		for j := range h.Commands {
			h.Commands[j].Run, h.Commands[j].Output = f(h.Commands[j].Run), f(h.Commands[j].Output)
		}
	}
	if c.Zabbix != nil {
		z := *c.Zabbix
		z.Answers = slices.Clone(z.Answers)
		for i := range z.Answers {
			a := &z.Answers[i]
			a.Result, a.Error = textAny(a.Result, f), f(a.Error)
		}
		c.Zabbix = &z
	}
	c.Approved, c.Notes = textList(c.Approved, f), textList(c.Notes, f)
	c.Expect.Cause = Match{textList(c.Expect.Cause.All, f), textList(c.Expect.Cause.Any, f), textList(c.Expect.Cause.None, f)}
	c.Transcript = slices.Clone(c.Transcript)
	for i := range c.Transcript {
		t := &c.Transcript[i]
		t.Text, t.Calls = f(t.Text), slices.Clone(t.Calls)
		for j := range t.Calls {
			call := &t.Calls[j]
			call.Raw = f(call.Raw)
			if call.Arguments != nil {
				call.Arguments, _ = textAny(call.Arguments, f).(map[string]any)
			}
		}
	}
	return c
}

func textMap(m map[string]string, f func(string) string) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = f(v)
	}
	return out
}

func textList(l []string, f func(string) string) []string {
	if l == nil {
		return nil
	}
	out := make([]string, len(l))
	for i, v := range l {
		out[i] = f(v)
	}
	return out
}

func textAny(v any, f func(string) string) any {
	switch v := v.(type) {
	case string:
		return f(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = textAny(e, f)
		}
		return out
	case map[any]any: // as YAML may have it
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[fmt.Sprint(k)] = textAny(e, f)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = textAny(e, f)
		}
		return out
	}
	return v
}

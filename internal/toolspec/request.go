package toolspec

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
)

// Request is what a declared tool sends, without its credential.
type Request struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Header http.Header `json:"header"`
	Body   string      `json:"body,omitempty"`
}

// Build makes the request of a tool that was checked, with arguments that fit
// its parameters: strings, int64, bool, []string and, of objects, what JSON gives.
// Its errors say which value cannot be where it would go.
func Build(s ops.ToolServer, h ops.HTTPTool, args map[string]any) (Request, error) {
	place, err := PlaceOf(s)
	if err != nil {
		return Request{}, err
	}
	r := Request{Method: h.Method, Header: http.Header{"Accept": {"application/json, text/*;q=0.9, */*;q=0.1"}, "User-Agent": {"Akmatori"}}}
	template, constants, _ := strings.Cut(h.Path, "?")
	query, err := url.ParseQuery(constants)
	if err != nil {
		return Request{}, invalid("path has a query that is none")
	}
	inPath, body := map[string]string{}, map[string]any{}
	for _, p := range h.Params {
		value, given := args[p.Name]
		if !given {
			continue
		}
		switch p.In {
		case ops.InPath:
			if inPath[p.Name], err = segment(p.Name, text(value)); err != nil {
				return Request{}, err
			}
		case ops.InQuery:
			query.Del(p.Wire()) // a constant of that name is its default
			if list, ok := value.([]string); ok {
				for _, v := range list {
					query.Add(p.Wire(), v)
				}
				continue
			}
			query.Set(p.Wire(), text(value))
		case ops.InHeader:
			v := text(value)
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(v) != v {
				return Request{}, invalid("argument %s cannot be in a header: it has something else than visible ASCII", p.Name)
			}
			r.Header.Set(p.Wire(), v)
		case ops.InBody:
			body[p.Wire()] = value
		default:
			return Request{}, fmt.Errorf("parameter %s: it cannot be in %q", p.Name, p.In)
		}
	}
	segments := strings.Split(template, "/")
	for i, s := range segments {
		segments[i] = placeholder.ReplaceAllStringFunc(s, func(m string) string { return inPath[m[1:len(m)-1]] })
		if s != "" && (segments[i] == "" || dots(segments[i])) {
			return Request{}, invalid("the arguments in the path make %q of a part of it", segments[i])
		}
	}
	u := url.URL{Scheme: place.Scheme, Host: Authority(place)}
	r.URL = u.String() + (&url.URL{Path: place.Path}).EscapedPath() + strings.Join(segments, "/")
	if len(query) > 0 {
		r.URL += "?" + query.Encode()
	}
	if slices.ContainsFunc(h.Params, func(p ops.HTTPParam) bool { return p.In == ops.InBody }) {
		text, err := json.Marshal(body)
		if err != nil {
			return Request{}, fmt.Errorf("body: %w", err)
		}
		r.Body = string(text)
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// Authority is the host and port of a place as a URL has them.
func Authority(p Place) string {
	if p.Port == map[string]int{"http": 80, "https": 443}[p.Scheme] {
		if strings.Contains(p.Host, ":") {
			return "[" + p.Host + "]"
		}
		return p.Host
	}
	return net.JoinHostPort(p.Host, strconv.Itoa(p.Port))
}

// text writes a value that is no list.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	}
	return fmt.Sprint(value)
}

// segment encodes a value for a path. What means something to whoever decodes
// the path once more is refused instead: it has no business in a name or an id.
func segment(name, value string) (string, error) {
	switch {
	case value == "":
		return "", invalid("argument %s is empty", name)
	case !utf8.ValidString(value), strings.ContainsAny(value, `/\%`), strings.ContainsFunc(value, unicode.IsControl):
		return "", invalid(`argument %s goes into a path: it cannot have / \ %% or control characters`, name)
	}
	// PathEscape leaves what only means something to some: parameters of a segment.
	return strings.NewReplacer(";", "%3B", "=", "%3D", ":", "%3A", "+", "%2B", "&", "%26", "@", "%40", "$", "%24").Replace(url.PathEscape(value)), nil
}

// Arguments makes of JSON, as encoding/json decodes it, what Build takes. It is
// for a preview: the gateway reads arguments more strictly.
func Arguments(h ops.HTTPTool, raw map[string]any) (map[string]any, error) {
	args := map[string]any{}
	for _, p := range h.Params {
		v, given := raw[p.Name]
		ok := !given && !p.Required
		switch v := v.(type) {
		case string:
			args[p.Name], ok = v, p.Type == "string"
		case float64:
			args[p.Name], ok = int64(v), p.Type == "integer" && v == float64(int64(v))
		case bool:
			args[p.Name], ok = v, p.Type == "boolean"
		case map[string]any:
			args[p.Name], ok = v, p.Type == "object"
		case []any:
			list := make([]string, len(v))
			ok = p.Type == "array"
			for i := range v {
				var isText bool
				list[i], isText = v[i].(string)
				ok = ok && isText
			}
			args[p.Name] = list
		}
		if !ok {
			return nil, invalid("argument %s is missing, or is no %s", p.Name, p.Type)
		}
	}
	for name := range raw {
		if !slices.ContainsFunc(h.Params, func(p ops.HTTPParam) bool { return p.Name == name }) {
			return nil, invalid("there is no argument %.40q", name)
		}
	}
	return args, nil
}

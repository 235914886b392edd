package toolspec

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/policy"
)

// Limits of a server and its tools.
const (
	maxTools       = 200
	maxParams      = 40
	maxDescription = 8 << 10
	maxPath        = 1000

	defaultSeconds, maxSeconds = 30, 300
	defaultBytes, maxBytes     = 1 << 20, 8 << 20
	defaultLength, maxLength   = 1000, 64 << 10
	defaultItems, maxItems     = 100, 1000
	// integers are as exact as the numbers of JavaScript.
	maxInteger = 1 << 53
)

var (
	methods     = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	paramName   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	placeholder = regexp.MustCompile(`\{([^{}]*)\}`)
	token       = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$") // RFC 9110, 5.6.2
)

// Reads says whether a request of that method changes nothing, by what the
// method means (RFC 9110, 9.2.1).
func Reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// Name is what agents know a tool by.
func Name(server, tool string) (string, error) { return policy.ConfiguredName(server, tool) }

// Place is where a server is.
type Place struct {
	Scheme, Host string // the host's name or address alone
	Port         int
	Path         string // begins with / or is empty, has no / at its end
}

// PlaceOf reads the URL of a server.
func PlaceOf(s ops.ToolServer) (Place, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" ||
		u.RawPath != "" || len(s.URL) > maxPath || strings.ContainsFunc(s.URL, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return Place{}, invalid("url is not of the form https://HOST/PATH")
	}
	if slices.ContainsFunc(strings.Split(u.Path, "/"), dots) {
		return Place{}, invalid("url has . or .. in its path")
	}
	p := Place{Scheme: u.Scheme, Host: strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), Port: map[string]int{"http": 80, "https": 443}[u.Scheme], Path: strings.TrimRight(u.Path, "/")}
	if text := u.Port(); text != "" {
		if p.Port, err = strconv.Atoi(text); err != nil || p.Port < 1 || p.Port > 65535 {
			return Place{}, invalid("url has a port that is none")
		}
	}
	return p, nil
}

// Check refuses a server that cannot be used as it is. What tools of MCP say of
// themselves is not checked here ([Compare]).
func Check(s ops.ToolServer) error {
	if _, err := Name(s.Name, "x"); err != nil {
		return invalid("name: %s", err)
	}
	if s.Kind != ops.ToolServerHTTP && s.Kind != ops.ToolServerMCP {
		return invalid("kind is http or mcp")
	}
	place, err := PlaceOf(s)
	switch {
	case err != nil:
		return err
	case place.Scheme == "http" && !s.AllowHTTP:
		return invalid("url is without TLS: what is sent there can be read and changed on the way. Use https, or set allow_http")
	case s.CA != "" && place.Scheme != "https":
		return invalid("ca needs a url with https")
	case s.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(s.CA)):
		return invalid("ca is not a certificate in PEM form")
	case s.Header != "" && (!token.MatchString(s.Header) || ours(s.Header)):
		return invalid("header %q cannot carry a credential", s.Header)
	case len(s.Tools) > maxTools:
		return invalid("a server has at most %d tools", maxTools)
	}
	seen := map[string]bool{}
	for _, t := range s.Tools {
		// A server of MCP may offer what nobody can use.
		if _, err := Name(s.Name, t.Name); err != nil && (s.Kind == ops.ToolServerHTTP || t.Enabled || t.Command != "") {
			return invalid("tool: %s", err)
		}
		if seen[t.Name] {
			return invalid("there are two tools %s", t.Name)
		}
		seen[t.Name] = true
		if err := checkCommand(t); err != nil {
			return fmt.Errorf("tool %s: %w", t.Name, err)
		}
		switch {
		case s.Kind == ops.ToolServerMCP && t.HTTP != nil:
			return invalid("tool %s: a server of MCP says itself what its tools are", t.Name)
		case s.Kind == ops.ToolServerMCP && t.Enabled && t.Accepted == nil:
			return invalid("tool %s: nobody has accepted what it is", t.Name)
		case s.Kind == ops.ToolServerHTTP && (t.HTTP == nil || t.Accepted != nil || t.Offered != nil):
			return invalid("tool %s: http is missing", t.Name)
		case t.HTTP != nil:
			if err := checkHTTP(s, t); err != nil {
				return fmt.Errorf("tool %s: %w", t.Name, err)
			}
		}
	}
	return nil
}

// checkCommand refuses a declared command that is no text, so that it could not
// be judged. Of a tool of MCP that nobody has accepted yet, what it has is not known.
func checkCommand(t ops.ServerTool) error {
	name := t.Shell()
	if len(name) > 100 || Unseen(name) {
		return invalid("command is not the name of an argument")
	}
	switch {
	case name == "":
	case t.HTTP != nil:
		if !slices.ContainsFunc(t.HTTP.Params, func(p ops.HTTPParam) bool { return p.Name == name && p.Type == "string" }) {
			return invalid("command: there is no parameter %s of type string", name)
		}
	case t.Accepted != nil:
		if !isText(t.Accepted.Schema, name) {
			return invalid("command: its schema has no argument %s of type string", name)
		}
	}
	return nil
}

func checkHTTP(s ops.ToolServer, t ops.ServerTool) error {
	h := t.HTTP
	switch {
	case !slices.Contains(methods, h.Method):
		return invalid("method is one of %s", strings.Join(methods, ", "))
	case !Reads(h.Method) && !t.Mutates:
		return invalid("%s may change something: set mutates, or use GET or HEAD", h.Method)
	case strings.TrimSpace(h.Description) == "":
		return invalid("description is empty: a model knows the tool by it alone")
	case Unseen(h.Description) || len(h.Description) > maxDescription:
		return invalid("description has characters that cannot be seen, or more than %d bytes", maxDescription)
	case h.Seconds < 0 || h.Seconds > maxSeconds:
		return invalid("seconds is between 1 and %d", maxSeconds)
	case h.Bytes < 0 || h.Bytes > maxBytes:
		return invalid("bytes is between 1 and %d", maxBytes)
	case len(h.Params) > maxParams:
		return invalid("there are more than %d parameters", maxParams)
	case len(h.Fields) > maxParams:
		return invalid("there are more than %d fields", maxParams)
	}
	for _, p := range append([]string{h.Pointer}, h.Fields...) {
		if _, err := pointer(p); err != nil {
			return err
		}
	}
	inPath, err := checkPath(h.Path)
	if err != nil {
		return err
	}
	names, wires := map[string]bool{}, map[string]bool{}
	for _, p := range h.Params {
		if err := checkParam(s, *h, p); err != nil {
			return fmt.Errorf("parameter %.40q: %w", p.Name, err)
		}
		wire := p.In + " " + p.Wire()
		if p.In == ops.InHeader {
			wire = strings.ToLower(wire)
		}
		if names[p.Name] || wires[wire] {
			return invalid("parameter %s is there twice", p.Name)
		}
		names[p.Name], wires[wire] = true, true
		if p.In == ops.InPath && !slices.Contains(inPath, p.Name) {
			return invalid("parameter %s is not in the path: write {%s} there", p.Name, p.Name)
		}
	}
	for _, name := range inPath {
		if !slices.ContainsFunc(h.Params, func(p ops.HTTPParam) bool { return p.Name == name && p.In == ops.InPath }) {
			return invalid("the path has {%s}, and there is no parameter of that name that goes there", name)
		}
	}
	return nil
}

// checkPath gives the names of the parameters in a template.
func checkPath(template string) (names []string, err error) {
	path, query, _ := strings.Cut(template, "?")
	switch {
	case !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || len(template) > maxPath:
		return nil, invalid("path begins with one /, and has at most %d bytes", maxPath)
	case strings.ContainsFunc(template, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' || r == '#' || r == '%' || r == ';' }):
		return nil, invalid(`path has a blank, %% ; # \ or something else that does not belong there as it is`)
	case strings.ContainsAny(query, "{}"):
		return nil, invalid("path has a parameter behind the ?: say in: query of it")
	}
	if _, err := url.ParseQuery(query); err != nil {
		return nil, invalid("path has a query that is none")
	}
	for _, segment := range strings.Split(path, "/") {
		if dots(segment) {
			return nil, invalid("path has . or .. in it")
		}
	}
	for _, m := range placeholder.FindAllStringSubmatch(path, -1) {
		if slices.Contains(names, m[1]) {
			return nil, invalid("path has {%s} twice", m[1])
		}
		names = append(names, m[1])
	}
	if strings.ContainsAny(placeholder.ReplaceAllString(path, ""), "{}") {
		return nil, invalid("path has a brace without its other one")
	}
	return names, nil
}

func checkParam(s ops.ToolServer, h ops.HTTPTool, p ops.HTTPParam) error {
	text := p.Type == "string" || p.Type == "array"
	switch {
	case !paramName.MatchString(p.Name):
		return invalid("a name is of a-z, 0-9 and _, a letter first, at most 40")
	case strings.TrimSpace(p.Description) == "":
		return invalid("description is empty: a model knows it by that alone")
	case Unseen(p.Description+p.Pattern+p.As+strings.Join(p.Enum, "")) || len(p.Description) > maxDescription || len(p.As) > 100:
		return invalid("it has characters that cannot be seen, or is too long")
	case !slices.Contains([]string{"string", "integer", "boolean", "array", "object"}, p.Type):
		return invalid("type is string, integer, boolean, array or object")
	case !slices.Contains([]string{ops.InPath, ops.InQuery, ops.InHeader, ops.InBody}, p.In):
		return invalid("in is path, query, header or body")
	case p.Type == "object" && p.In != ops.InBody, p.Type == "array" && (p.In == ops.InPath || p.In == ops.InHeader):
		return invalid("a value of type %s cannot be in the %s", p.Type, p.In)
	case p.In == ops.InPath && (!p.Required || p.As != ""):
		return invalid("what is in the path is required, and has no other name there")
	case p.In == ops.InBody && Reads(h.Method):
		return invalid("%s has no body", h.Method)
	case p.In == ops.InHeader && (!token.MatchString(p.Wire()) || ours(p.Wire()) || strings.EqualFold(p.Wire(), s.Header)):
		return invalid("a tool does not set the header %s", p.Wire())
	case !text && (p.Pattern != "" || len(p.Enum) > 0 || p.MaxLength != 0):
		return invalid("pattern, enum and max_length are of strings")
	case p.Type != "array" && p.MaxItems != 0:
		return invalid("max_items is of arrays")
	case p.Type != "integer" && (p.Min != nil || p.Max != nil):
		return invalid("min and max are of integers")
	case p.MaxLength < 0 || p.MaxLength > maxLength || p.MaxItems < 0 || p.MaxItems > maxItems || len(p.Enum) > 100:
		return invalid("max_length is at most %d, max_items %d, and enum has at most 100", maxLength, maxItems)
	}
	if low, high := Bounds(p); low >= high || low < -maxInteger || high > maxInteger {
		return invalid("min must be less than max, and both within 2^53")
	}
	if len(p.Pattern) > 500 {
		return invalid("pattern is longer than 500 bytes")
	}
	if _, err := Pattern(p); err != nil {
		return invalid("pattern does not compile: %s", err)
	}
	return nil
}

// Pattern is the pattern of a parameter for the whole of a value; nil if it has none.
func Pattern(p ops.HTTPParam) (*regexp.Regexp, error) {
	if p.Pattern == "" {
		return nil, nil //nolint:nilnil // no pattern is no error
	}
	if _, err := regexp.Compile(p.Pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`^(?:` + p.Pattern + `)$`)
}

// Bounds are those of an integer.
func Bounds(p ops.HTTPParam) (low, high int64) {
	low, high = -maxInteger, maxInteger
	if p.Min != nil {
		low = *p.Min
	}
	if p.Max != nil {
		high = *p.Max
	}
	return low, high
}

// Length, Items, Seconds and Bytes are limits with their defaults.
func Length(p ops.HTTPParam) int { return or(p.MaxLength, defaultLength) }

// Items is how many an array may have.
func Items(p ops.HTTPParam) int { return or(p.MaxItems, defaultItems) }

// Seconds bounds a request.
func Seconds(h ops.HTTPTool) int { return or(h.Seconds, defaultSeconds) }

// Bytes bounds an answer.
func Bytes(h ops.HTTPTool) int { return or(h.Bytes, defaultBytes) }

func or(n, fallback int) int {
	if n == 0 {
		return fallback
	}
	return n
}

// ours says whether a header is for the program alone to set: it says where the
// request goes, how it is framed, who sends it, or what is really meant by it.
func ours(header string) bool {
	h := strings.ToLower(header)
	for _, prefix := range []string{"proxy-", "sec-", "content-", "x-forwarded-", "x-http-", "x-method-", "x-original-", "x-rewrite-", "mcp-"} {
		if strings.HasPrefix(h, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"accept-encoding", "authorization", "connection", "cookie", "date", "expect", "forwarded", "host", "http2-settings", "keep-alive", "origin", "referer",
		"te", "trailer", "transfer-encoding", "upgrade", "user-agent", "via", "x-real-ip",
	}, h)
}

// Unseen says whether a text has characters that people do not see.
func Unseen(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
		return r != '\n' && r != '\t' && !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r)
	})
}

func dots(segment string) bool { return segment == "." || segment == ".." }

func invalid(format string, args ...any) error { return ops.Errorf(ops.CodeInvalid, format, args...) }

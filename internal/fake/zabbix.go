package fake

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akmatori/akmatori/internal/casefile"
	"github.com/akmatori/akmatori/internal/ops"
)

// Zabbix is an instance that answers as a case says, over JSON-RPC 2.0 as of
// Zabbix 6.4 and later (www.zabbix.com/documentation/current/en/manual/api).
// What is not in its script it has none of; what would change something it refuses.
type Zabbix struct {
	script casefile.Zabbix
	token  ops.Secret
}

// NewZabbix makes an instance for whoever has the token; it is an [http.Handler].
func NewZabbix(script casefile.Zabbix, token ops.Secret) *Zabbix {
	if script.Version == "" {
		script.Version = "7.0.0"
	}
	return &Zabbix{script, token}
}

// ServeHTTP implements [http.Handler].
func (z *Zabbix) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil || r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/api_jsonrpc.php") {
		http.Error(w, "Not found.", http.StatusNotFound)
		return
	}
	var req struct {
		ID     any            `json:"id"`
		Method string         `json:"method"`
		Params map[string]any `json:"params"`
	}
	_ = json.Unmarshal(body, &req) // a list of parameters, as of apiinfo.version, is none
	answer := map[string]any{"jsonrpc": "2.0", "id": req.ID}
	result, failure := z.answer(r, req.Method, req.Params)
	if failure != "" {
		answer["error"] = map[string]any{"code": -32602, "message": "Invalid params.", "data": failure}
	} else {
		answer["result"] = result
	}
	writeJSON(w, http.StatusOK, answer)
}

func (z *Zabbix) answer(r *http.Request, method string, params map[string]any) (result any, failure string) {
	if method == "apiinfo.version" {
		return z.script.Version, ""
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "" || !z.token.Equal(ops.NewSecret(token)) {
		return nil, "Not authorized."
	}
	now := time.Now()
	for _, a := range z.script.Answers {
		if a.Method != method || !subset(a.Params, params) {
			continue
		}
		if a.Error != "" {
			return nil, a.Error
		}
		list, ok := dated(normal(a.Result), now).([]any)
		if !ok {
			return dated(normal(a.Result), now), ""
		}
		return chosen(list, params), ""
	}
	if !strings.HasSuffix(method, ".get") {
		return nil, "No permissions to call \"" + method + "\"."
	}
	return []any{}, ""
}

// normal gives what YAML read as what JSON would have read.
func normal(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	_ = json.Unmarshal(data, &out)
	return out
}

// subset says whether all of want is in have.
func subset(want, have map[string]any) bool {
	for k, v := range want {
		if toJSON(normal(v)) != toJSON(have[k]) {
			return false
		}
	}
	return true
}

// clocks are the fields with a time.
var clocks = []string{"clock", "lastclock", "lastchange", "r_clock"}

// dated makes times of -3h and the like.
func dated(v any, now time.Time) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = dated(v[i], now)
		}
	case map[string]any:
		for k, e := range v {
			v[k] = dated(e, now)
			text, ok := e.(string)
			if !ok || !slices.Contains(clocks, k) || !strings.HasPrefix(text, "-") {
				continue
			}
			if d, err := time.ParseDuration(text); err == nil {
				v[k] = strconv.FormatInt(now.Add(d).Unix(), 10)
			}
		}
	}
	return v
}

// chosen gives those of the objects that a request asks for by id, by words and
// by time, as many as it wants.
func chosen(list []any, params map[string]any) []any {
	out := []any{}
	for _, v := range list {
		if o, ok := v.(map[string]any); ok && !wanted(o, params) {
			continue
		}
		out = append(out, v)
	}
	if n, ok := params["limit"].(float64); ok && int(n) < len(out) {
		out = out[:int(n)]
	}
	return out
}

func wanted(o map[string]any, params map[string]any) bool {
	for param, v := range params {
		ids, ok := v.([]any)
		id, has := o[strings.TrimSuffix(param, "s")]
		if ok && has && strings.HasSuffix(param, "ids") && !slices.ContainsFunc(ids, func(e any) bool { return e == id }) {
			return false
		}
	}
	at, _ := strconv.ParseInt(text(o["clock"]), 10, 64)
	if from, ok := params["time_from"].(float64); ok && at > 0 && at < int64(from) {
		return false
	}
	if till, ok := params["time_till"].(float64); ok && at > 0 && at > int64(till) {
		return false
	}
	any_ := params["searchByAny"] == true
	found, asked := false, false
	for _, kind := range []string{"filter", "search"} {
		fields, _ := params[kind].(map[string]any)
		for name, want := range fields {
			value, has := o[name]
			if !has {
				continue
			}
			asked = true
			ok := matches(kind, text(value), want)
			if !ok && !any_ {
				return false
			}
			found = found || ok
		}
	}
	return found || !asked || !any_
}

// matches says whether a value is one of a filter's, or contains a search's.
func matches(kind, value string, want any) bool {
	list, ok := want.([]any)
	if !ok {
		list = []any{want}
	}
	return slices.ContainsFunc(list, func(w any) bool {
		if kind == "filter" {
			return value == text(w)
		}
		pattern := text(w)
		if !strings.Contains(pattern, "*") {
			pattern = "*" + pattern + "*"
		}
		return casefile.Glob(strings.ToLower(pattern), strings.ToLower(value))
	})
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

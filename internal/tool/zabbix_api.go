package tool

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
)

var (
	idPattern     = regexp.MustCompile(`^[0-9]{1,20}$`)
	methodPattern = regexp.MustCompile(`^[A-Za-z]{1,40}\.[A-Za-z]{1,40}$`)
)

func parseID(id string) (uint64, error) { return strconv.ParseUint(id, 10, 64) }

func formatID(id uint64) string { return strconv.FormatUint(id, 10) }

func zabbixAPI(z *Zabbix) Tool {
	return zabbixTool(z, Tool{Name: "zabbix_api", Mutates: true, Fields: []Field{
		{Name: "method", Type: String, Required: true, MaxLength: 81, Pattern: methodPattern, Description: "such as maintenance.get"},
		{Name: "params", Type: Object, Description: "the method's parameters"},
		{Name: "ids", Type: Strings, MaxItems: 1000, MaxLength: 20, Pattern: idPattern,
			Description: "instead of params, for methods whose parameters are a list of ids, such as *.delete"},
	}}, anyMethod)
}

// notForAgents are methods about sessions and tokens: what they give is a
// credential, or ends the one that all share.
var notForAgents = []string{"user.login", "user.logout", "user.checkauthentication", "token.generate"}

func anyMethod(ctx context.Context, c *zabbixCall, a Args) (*report, error) {
	method := strings.ToLower(a.String("method")) // as Zabbix does
	if slices.Contains(notForAgents, method) {
		return nil, ops.Errorf(ops.CodeForbidden, "%s is about credentials, which only the gateway handles", method)
	}
	_, hasParams := a["params"]
	_, hasIDs := a["ids"]
	var params any = map[string]any{}
	switch {
	case hasParams && hasIDs:
		return nil, ops.Errorf(ops.CodeInvalid, "give params or ids, not both")
	case hasParams:
		params = a["params"]
	case hasIDs:
		params = a.Strings("ids")
	}
	v, err := c.do(ctx, a.String("method"), params)
	if err != nil {
		return nil, err
	}
	v = withoutSecrets(v)
	r := &report{data: map[string]any{"result": v}}
	// One object a line, so that what is cut in the middle can still be read.
	if list, ok := v.([]any); ok {
		for _, one := range list {
			r.line("%s", compact(one))
		}
		r.line("[%d in all]", len(list))
		return r, nil
	}
	r.line("%s", compact(v))
	return r, nil
}

func compact(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// secretName matches properties that hold a secret: of items, media types,
// scripts, proxies, connectors, user directories and the like. Their names are
// those of the API's objects.
var secretName = regexp.MustCompile(`(?i)^(.*passw(or)?d|.*passphrase|.*private_?key|.*secret.*|.*token|tls_psk|.*community|sessionid|.*_key_pass)$`)

// withoutSecrets hides the values of such properties, and of parameters and
// macros that are named so.
func withoutSecrets(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutSecrets(v[i])
		}
	case map[string]any:
		for name, value := range v {
			text, isText := value.(string)
			switch {
			case isText && text != "" && secretName.MatchString(name):
				v[name] = ops.Redacted
			default:
				v[name] = withoutSecrets(value)
			}
		}
		for _, name := range []string{"name", "macro"} {
			label, _ := v[name].(string)
			label = strings.Trim(label, "{$}")
			if text, ok := v["value"].(string); ok && text != "" && secretName.MatchString(label) {
				v["value"] = ops.Redacted
			}
		}
	}
	return v
}

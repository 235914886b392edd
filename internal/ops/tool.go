package ops

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// CallState is the state of a tool call at the gateway, in this order; the last
// four are final. CallUnknown means that the gateway died between the start of
// the act and the record of its outcome: it is shown as such and never retried.
type CallState string

// The states of a tool call.
const (
	CallReceived  CallState = "received"
	CallWaiting   CallState = "waiting_approval" // people are asked; call again under the same id
	CallDecided   CallState = "decided"
	CallIntent    CallState = "intent"
	CallExecuting CallState = "executing"
	CallDone      CallState = "done"
	CallFailed    CallState = "failed"
	CallDenied    CallState = "denied"
	CallUnknown   CallState = "unknown"
)

// Final says whether the call's result will never change.
func (s CallState) Final() bool {
	switch s {
	case CallDone, CallFailed, CallDenied, CallUnknown:
		return true
	}
	return false
}

// ToolResult is what a call gave: to the model, to the timeline and, stored, to
// whoever asks again.
type ToolResult struct {
	ID    string    `json:"id"`
	State CallState `json:"state"`
	// Text is capped, stripped of control sequences and redacted.
	Text string `json:"text"`
	// Data is what Text says, for a program to read. Not all tools have it.
	Data json.RawMessage `json:"data,omitempty"`
	// Truncated counts bytes of output that Text leaves out.
	Truncated int64 `json:"truncated,omitempty"`
	// ExitCode is set for commands that ended by themselves.
	ExitCode *int          `json:"exit_code,omitempty"`
	Duration time.Duration `json:"duration_ns"`
	Target   string        `json:"target,omitempty"`
	// Child is the run that a call of [AskAgent] has asked for.
	Child *ChildRun `json:"child,omitempty"`
}

const emptied = "bytes of output were left out when the run was resumed]"

// Emptied gives the result without its text, which says so.
func (r ToolResult) Emptied() ToolResult {
	r.Truncated += int64(len(r.Text))
	r.Text = fmt.Sprintf("[%d %s", len(r.Text), emptied)
	return r
}

// IsEmptied says whether text is what [ToolResult.Emptied] leaves.
func IsEmptied(text string) bool {
	return strings.HasPrefix(text, "[") && strings.HasSuffix(text, emptied)
}

// ToolCall is a call as the gateway has recorded it.
type ToolCall struct {
	// RunID or TokenID is whose call it is: a run's, or of a gateway token that no run has.
	RunID     string          `json:"run_id,omitempty"`
	TokenID   string          `json:"token_id,omitempty"`
	ID        string          `json:"id"`
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments"`
	Digest    []byte          `json:"-"` // of tool and canonical arguments
	Target    string          `json:"target,omitempty"`
	// Command is what is sent to a host, in canonical form.
	Command string      `json:"command,omitempty"`
	Verdict string      `json:"verdict,omitempty"` // allow, deny or ask
	Rule    string      `json:"rule,omitempty"`    // the rule that decided
	State   CallState   `json:"state"`
	Result  *ToolResult `json:"result,omitempty"`
	// Kept counts the bytes of output that are stored beside the result, from the
	// start of it; 0 if the result holds all.
	Kept      int64     `json:"kept,omitempty" doc:"Bytes of the whole output that are stored beside the result; 0 if the result holds all."`
	CreatedAt time.Time `json:"created_at"`
}

// Holder is what the call is known by, with its ID.
func (c ToolCall) Holder() string {
	if c.TokenID != "" {
		return c.TokenID
	}
	return c.RunID
}

// Target is a machine or service of the inventory that tools may act on.
type Target struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Kind    string `json:"kind"` // ssh, zabbix
	Address string `json:"address"`
	Port    int    `json:"port"`
	User    string `json:"user,omitempty"`
	// HostKey holds the pinned keys, one a line, as in known_hosts without the
	// host column ("ssh-ed25519 AAAA…"). A line that begins with [CertAuthority]
	// has the key of who signs host keys. Empty: the target is not enrolled yet,
	// and nothing logs in to it.
	HostKey    string            `json:"host_key,omitempty"`
	Credential string            `json:"credential,omitempty"` // its name
	Labels     map[string]string `json:"labels,omitempty"`
	// Jump names the target that connections go through.
	Jump string `json:"jump,omitempty"`
	// Scheme, Path and CA are of targets that speak HTTP. CA holds the PEM of who
	// may have signed its certificate; without it that is as the system says.
	Scheme    string    `json:"scheme,omitempty"` // https or http
	Path      string    `json:"path,omitempty"`
	CA        string    `json:"ca,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Complete makes what a person or a file says of a target one that can be stored, or
// says what is wrong with it. It is a host for SSH, at port 22 unless it has another
// one, or a Zabbix instance, which has the URL of its frontend in place of address
// and port. Its name and what it names, credential and jump host, are not judged.
func (t *Target) Complete(url string) (err error) {
	switch {
	case t.Kind == "zabbix" && (t.Address != "" || t.Port != 0 || t.HostKey != "" || t.Jump != ""):
		return Errorf(CodeInvalid, "address, port, host_key and jump are not of a Zabbix instance: give its url")
	case t.Kind == "zabbix":
		if err = t.setURL(url); err != nil || t.CA == "" {
			return err
		}
		if t.Scheme != "https" {
			return Errorf(CodeInvalid, "ca needs a url with https")
		}
		if !x509.NewCertPool().AppendCertsFromPEM([]byte(t.CA)) {
			return Errorf(CodeInvalid, "ca is not a certificate in PEM form")
		}
		return nil
	case t.Kind != "ssh":
		return Errorf(CodeInvalid, "there is no kind %q of targets", t.Kind)
	case url != "" || t.CA != "":
		return Errorf(CodeInvalid, "url and ca are not of a host for ssh")
	case t.Address == "" || t.User == "":
		return Errorf(CodeInvalid, "a host for ssh needs address and user")
	case t.Port == 0:
		t.Port = 22
	}
	t.HostKey, err = HostKeys(t.HostKey)
	return err
}

// CertAuthority marks the key of an authority, as in known_hosts(5).
const CertAuthority = "@cert-authority"

// ZabbixPath is where a Zabbix frontend has its API, below its own path.
const ZabbixPath = "/api_jsonrpc.php"

// setURL reads address, port, scheme and path from the URL of a Zabbix frontend,
// or of its API.
func (t *Target) setURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
		return Errorf(CodeInvalid, "the url is not of the form https://HOST/PATH")
	}
	port := map[string]int{"http": 80, "https": 443}[u.Scheme]
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return Errorf(CodeInvalid, "the url has a port that is none")
		}
	}
	t.Scheme, t.Address, t.Port = u.Scheme, u.Hostname(), port
	t.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, ZabbixPath), "/") + ZabbixPath
	return nil
}

// Credential is a sealed secret. Sealed opens only in its zone, and only with
// the same id, kind, targets and version ([Credential.Info]).
type Credential struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind"` // a key of CredentialKinds
	// Targets names those that it may be used for, each a name or a glob.
	// An llm_key names LLM providers.
	Targets   []string  `json:"targets"`
	Version   int       `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	// RotatedAt is when it got its newest secret, if that is not its first.
	RotatedAt *time.Time `json:"rotated_at,omitempty"`
	// DisabledAt is set while it may not be used for anything.
	DisabledAt *time.Time `json:"disabled_at,omitempty"`
	Sealed     []byte     `json:"-"`
}

// Zone is who can open a sealed secret.
type Zone string

// The zones: the gateway opens tools, the proxy egress, the api its own.
const (
	ZoneTools  Zone = "tools"
	ZoneEgress Zone = "egress"
	ZoneAPI    Zone = "api"
)

// WebhookSecret is the kind of a source's secret that signatures are checked
// with. It is not in the table of credentials ([Source.SecretCredential]).
const WebhookSecret = "webhook_secret"

// CredentialKinds maps each kind of credential to the zone that opens it.
var CredentialKinds = map[string]Zone{
	"ssh_key":         ZoneTools,
	"ssh_password":    ZoneTools,
	"zabbix_token":    ZoneTools,
	"zabbix_password": ZoneTools,
	"http_header":     ZoneTools, // of tool servers
	"http_bearer":     ZoneTools,
	"http_basic":      ZoneTools, // user:password
	"llm_key":         ZoneEgress,
	WebhookSecret:     ZoneAPI,
	ReconcileSecret:   ZoneAPI,
	OIDCSecret:        ZoneAPI,
	TOTPSecret:        ZoneAPI,
}

// Info is what a seal is bound to: a row whose id, kind, targets or version was
// changed does not open. JSON makes it unambiguous.
func (c Credential) Info() []byte {
	info, _ := json.Marshal([]any{"akmatori credential", 1, c.ID, c.Kind, c.Targets, c.Version})
	return info
}

// ProviderKinds are the protocols and vendors of language models, each with the
// base URL that it has where nothing else is said.
var ProviderKinds = map[string]string{
	"openai":            "https://api.openai.com/v1",
	"anthropic":         "https://api.anthropic.com",
	"google":            "https://generativelanguage.googleapis.com",
	"openrouter":        "https://openrouter.ai/api/v1",
	"openai-compatible": "",
}

// MaxFallbacks is how many providers a run may turn to behind its first.
const MaxFallbacks = 3

// Provider is a configured LLM endpoint.
type Provider struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Kind       string `json:"kind"` // one of ProviderKinds
	BaseURL    string `json:"base_url"`
	Model      string `json:"model"`
	Credential string `json:"credential,omitempty"` // its name
	Default    bool   `json:"default"`
	// Effort is how much the model is to reason: low, medium, high; empty leaves
	// it to the vendor.
	Effort string `json:"effort,omitempty"`
	// PriceInput and PriceOutput are what a million tokens cost here, in US
	// dollars; nil means the vendor's list price. Window is how many tokens a
	// conversation may have; 0 means what is known of the model.
	PriceInput  *float64 `json:"price_input,omitempty"`
	PriceOutput *float64 `json:"price_output,omitempty"`
	Window      int      `json:"window,omitempty"`
	// Fallback names the provider to turn to after Patience seconds of
	// overload, rate limits or no answer at all; with FallbackOnAccount also when
	// the vendor refuses the key or the account is used up. 0 is a minute.
	Fallback          string `json:"fallback,omitempty"`
	FallbackOnAccount bool   `json:"fallback_on_account"`
	Patience          int    `json:"patience,omitempty"`
	// Wait is how many minutes a run waits when neither this provider nor its
	// fallbacks can be had, before it fails; 0 is not at all.
	Wait int `json:"wait,omitempty"`
	// AllowPrivate lets the proxy dial private and loopback addresses for this
	// provider. Metadata addresses stay closed.
	AllowPrivate bool      `json:"allow_private"`
	CreatedAt    time.Time `json:"created_at"`
}

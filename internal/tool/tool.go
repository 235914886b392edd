// Package tool is what agents can do through the gateway: a table of tools,
// each with its description, its arguments and its act, and the SSH client that
// the acts need.
//
// A tool acts; it decides nothing. Whoever calls [Tool.Run] has checked the
// arguments ([Tool.Parse]), resolved the target, judged the command, written
// the audit record and limited ctx. What a tool gives back, as result and live,
// is stripped of control sequences, redacted and capped before it leaves this
// package ([Output]).
//
// # SSH
//
// The [Pool] keeps connections by the whole chain of hops with their
// credentials' versions, so that any change in the inventory is another
// connection. A host is believed only if it proves one of the keys pinned for
// its target, or has a certificate of a pinned authority for its address; every
// jump host too, and the host behind it end to end. The
// credential is opened after that proof and not before: a host with another
// key costs a [HostKeyError] and learns nothing but that we came.
// Commands get no terminal, no input, no forwarding, and nothing of our environment
// but a random mark of their own. A command for several hosts runs on each of them
// on its own; what goes wrong on one stops no other.
//
// A command that is stopped is killed with all that it has started, by a fixed
// command of our own on the same connection, which finds it by its mark
// (killCommand says how). It is no call: nobody can ask for it, and what became of
// it is in the outcome of the call that it ends. What the host has not confirmed
// within two seconds is said not to be: of a host that takes no mark (AcceptEnv),
// is no Linux, or where the command has become another user. Such a one gets a
// signal and is hung up on; OpenSSH passes that signal on to the process group
// of the command, and for root to nobody. What a command has others do, a service
// or a container, is not killed.
//
// A file is read by a fixed command that opens it, says which one it has open,
// and shows nothing before that one was judged too (readCommand says why).
//
// The tools ssh_host_keys and ssh_login are for the api, which enrols hosts and
// reaches none itself. What a host offers there is trusted by nobody: people
// confirm a fingerprint, and then it is pinned.
//
// # Evidence
//
// What a result leaves out of an output is kept, stripped and redacted like the
// result: up to 128 MiB of text or 16 MiB compressed from its start, in chunks of
// at most 256 KiB that are stored while it comes ([Sink.Keep]). An output in the
// making holds one chunk in memory; the host waits while one is stored. The
// result says what is kept and what is not. evidence_read and evidence_search
// read it, for the run or token whose call it was and for nobody else ([Past]).
// Of each of several hosts only what a result could hold is kept.
//
// # Limits
//
// A connection carries at most 8 commands, or as many as the host allows; a
// chain has at most 4 connections; who comes then waits, as long as its ctx. Output is read as fast as it comes and kept
// in the result up to 256 KiB, the first half and the last.
// Live output ends after the same amount. No step on the network is without a
// deadline, and a connection whose host does not answer a keepalive is closed
// under its commands, which then fail.
//
// # Zabbix
//
// The client [Zabbix] speaks to the inventory's instances alone, by the address
// that the inventory says, follows no redirect and trusts no other certificate
// authority than the target's own, if it has one. A password makes one session
// that calls share, which is kept in memory alone and given back at the end. What
// comes back is at most 16 MiB, is stripped and redacted text by text, and goes
// out as a text that a model can read and as data.
//
// # Servers that were added
//
// A [Remote] is the client of one HTTP API or server of MCP. It dials that host
// and port alone (package reach), follows no redirect and retries nothing. A
// declared request is built so that no argument leaves its place (package
// toolspec); of its answer, at most 8 MiB, the chosen part is given, each text
// stripped and redacted. A server of MCP gets a session for each call, so that
// calls share nothing there; the server's tool must be, to the byte of its text
// and the meaning of its schema, what was accepted. A call that ends early is
// cancelled there. An argument that was declared to be a shell command is sent
// in the form in which it was judged.
//
// A command is never started twice: only a channel that could not be opened is
// tried again, a few times.
package tool

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/toolspec"
)

// Tool is one thing that an agent can do.
type Tool struct {
	Name string
	// Description is what the model reads: NAME.md.
	Description string
	Fields      []Field
	// Mutates says that it may change something outside of this program.
	Mutates bool
	// Target names the field with the name of the target (if that is left out, the
	// only one of Kind is meant), and Command the one with a shell command; empty
	// if the tool has none.
	Target, Command string
	// Plain: somebody has said of a configured tool that it has no such field.
	Plain bool
	// Targets names the field with the names of several targets, which is given
	// instead of Target; empty if a call is about one.
	Targets string
	// Kind is the kind of target, for tools that have one.
	Kind string
	// Limit is how long a call with these arguments may take.
	Limit func(Args) time.Duration
	// Ahead prepares a call while its intent is being recorded. It sends nothing
	// of the call and opens no credential. nil: there is nothing to prepare.
	Ahead func([]Hop) *Ahead
	Run   func(context.Context, Call) (Outcome, error)
	// Remote is the configured server that the tool is of; nil: it is built in.
	Remote *Remote
	// Keyless says that the target itself is not logged in to, and so needs no
	// credential; the hosts on the way to it do.
	Keyless bool
	// Service says that only parts of this program may call it.
	Service bool

	schema     *toolspec.Schema // of a tool of MCP, which has no fields
	rawSchema  json.RawMessage
	definition []byte
}

// Definition names what the tool is, all that it is: a call that people approve
// is one of that tool and of no other of its name.
func (t Tool) Definition() []byte {
	text, _ := json.Marshal([]any{"akmatori tool", 1, t.Name, t.Description, t.Schema(), t.Mutates, t.definition}) // always marshals
	sum := sha256.Sum256(text)
	return sum[:]
}

// Call is an allowed call with all that it needs.
type Call struct {
	Args Args
	// Hops lead to the target: its jump hosts, outermost first, and itself.
	Hops []Hop
	// Ways are the hops to each target, if the call names several in Tool.Targets.
	Ways [][]Hop
	// Ahead is what Tool.Ahead gave. It may be nil.
	Ahead *Ahead
	// Command is the canonical form of the command.
	Command string
	// Inventory is for tools that list targets.
	Inventory []ops.Target
	// Remote is for the tool that asks a configured server.
	Remote *Remote
	// Leads says no if the call may not read the file at this path of the target,
	// which is where the path in its arguments has led.
	Leads func(path string) error
	// Past is for tools that read what earlier calls have printed.
	Past Past
	// Sink is where the output goes while it comes.
	Sink Sink
}

// Outcome is what became of a call that did act.
type Outcome struct {
	Text string
	// Data is what Text says, for a program to read: JSON, or nil, as where it
	// would be too large to be stored with each call.
	Data json.RawMessage
	// Truncated counts bytes of output that Text leaves out.
	Truncated int64
	// Kept says what of an output with more than Text is kept as evidence.
	Kept Kept
	// ExitCode is set if a command ended by itself.
	ExitCode *int
	// Stopped says why it did not end by itself.
	Stopped string
}

// CheckTargets says whether a call names its target in one way: of a tool that
// can have several, exactly one of the two fields is given, and no name twice.
// Its errors are for the model to read.
func (t Tool) CheckTargets(a Args) error {
	if t.Targets == "" {
		return nil
	}
	names := a.Strings(t.Targets)
	if (a.String(t.Target) != "") == (len(names) > 0) {
		return invalid("give either %s or %s", t.Target, t.Targets)
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return invalid("%s has %.40q twice", t.Targets, name)
		}
	}
	return nil
}

//go:embed *.md
var descriptions embed.FS

func description(name string) string {
	text, err := descriptions.ReadFile(name + ".md")
	if err != nil {
		panic(fmt.Sprintf("tool: %v", err)) // a file is missing from the build
	}
	return string(text)
}

// Table lists the tools.
func Table(ssh *Pool, zabbix *Zabbix) []Tool {
	return []Tool{
		sshExecute(ssh),
		sshHosts(),
		sshReadFile(ssh),
		sshHostKeys(ssh),
		sshLogin(ssh),
		evidenceRead(),
		evidenceSearch(),
		zabbixProblems(zabbix),
		zabbixHosts(zabbix),
		zabbixItems(zabbix),
		zabbixHistory(zabbix),
		zabbixTriggers(zabbix),
		zabbixEvents(zabbix),
		zabbixAcknowledge(zabbix),
		zabbixAPI(zabbix),
		toolsDiscover(),
	}
}

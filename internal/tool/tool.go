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
// its target; every jump host too, and the host behind it end to end. The
// credential is opened after that proof and not before: a host with another
// key costs a [HostKeyError] and learns nothing but that we came.
// Commands get no terminal, no input, no environment, no forwarding.
//
// # Limits
//
// A connection carries at most 8 commands, or as many as the host allows; a
// chain has at most 4 connections; who comes then waits, as long as its ctx. Output is read as fast as it comes and kept
// up to 256 KiB, the first half and the last; the rest is counted and dropped.
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
// A command is never started twice: only a channel that could not be opened is
// tried again, a few times.
package tool

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
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
	// Kind is the kind of target, for tools that have one.
	Kind string
	// Limit is how long a call with these arguments may take.
	Limit func(Args) time.Duration
	// Ahead prepares a call while its intent is being recorded. It sends nothing
	// of the call and opens no credential. nil: there is nothing to prepare.
	Ahead func([]Hop) *Ahead
	Run   func(context.Context, Call) (Outcome, error)
}

// Call is an allowed call with all that it needs.
type Call struct {
	Args Args
	// Hops lead to the target: its jump hosts, outermost first, and itself.
	Hops []Hop
	// Ahead is what Tool.Ahead gave. It may be nil.
	Ahead *Ahead
	// Command is the canonical form of the command.
	Command string
	// Inventory is for tools that list targets.
	Inventory []ops.Target
	// Live is called with pieces of the output, one at a time, and must not
	// block. It may be nil.
	Live func(text string)
}

// Outcome is what became of a call that did act.
type Outcome struct {
	Text string
	// Data is what Text says, for a program to read: JSON, or nil.
	Data json.RawMessage
	// Truncated counts bytes of output that Text leaves out.
	Truncated int64
	// ExitCode is set if a command ended by itself.
	ExitCode *int
	// Stopped says why it did not end by itself.
	Stopped string
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
		zabbixProblems(zabbix),
		zabbixHosts(zabbix),
		zabbixItems(zabbix),
		zabbixHistory(zabbix),
		zabbixTriggers(zabbix),
		zabbixEvents(zabbix),
		zabbixAcknowledge(zabbix),
		zabbixAPI(zabbix),
	}
}

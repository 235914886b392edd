package tool

import (
	"crypto/rand"
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

// marks are the names of environment variables under which each command gets a
// random mark of its own. The first is taken by hosts with AcceptEnv LC_*, which
// are those of Debian and Ubuntu, and no program reads it. Those of Red Hat take
// certain names only, of which the second is one: it is for programs with
// windows. Where the host takes neither nothing can be found by its mark.
var marks = [...]string{"LC_AKMATORI", "XMODIFIERS"}

// mark gives the command that a session will start a mark. It waits for no
// answer, so it costs no round trip.
func mark(s *ssh.Session, value string) error {
	for _, name := range marks {
		if _, err := s.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, value})); err != nil {
			return err
		}
	}
	return nil
}

// killCommand, followed by a mark, kills what carries it and all that descends
// from those, and says killed when none of them is left. What it finds is stopped
// first, so that nothing escapes by a fork meanwhile. What runs as another user
// (sudo) may be found and not be killed; then it does not say killed, nor where it
// cannot see the processes of others. If nothing carries the mark it says none,
// but only if its own session was given one: else the host takes none.
//
// It needs Linux with /proc, a POSIX shell and grep, which busybox has too. As
// readCommand it is one line without ! and nested quotes: the login shell that
// gets it may be any. Who looks at it in the list of processes learns a mark that
// is of use to nobody: it would be its own processes that it marks.
const killCommand = `exec sh -c 'm=$1; all=" "; i=0; while [ $i -lt 20 ]; do i=$((i+1)); new=; ` +
	`for f in $(grep -lsF "=$m" /proc/[0-9]*/environ); do p=${f#/proc/}; p=${p%/*}; ` +
	`case $all in *" $p "*) ;; *) all="$all$p "; new="$new $p";; esac; done; ` +
	`for w in $(grep -s "^PPid:" /proc/[0-9]*/status); do case $w in /*) p=${w#/proc/}; p=${p%%/*};; ` +
	`*) case $all in *" $p "*) ;; *" $w "*) all="$all$p "; new="$new $p";; esac;; esac; done; ` +
	`[ "$new" ] || break; kill -STOP $new 2>/dev/null; done; ` +
	`if [ "$all" = " " ]; then [ -z "$LC_AKMATORI$XMODIFIERS" ] || echo none; exit; fi; ` +
	`kill -KILL $all 2>/dev/null; set --; for p in $all; do set -- "$@" /proc/$p/status; done; ` +
	`while [ $i -lt 40 ]; do i=$((i+1)); grep -qs "^State:.[^XZ]" "$@" || { [ -r /proc/1/status ] && echo killed; exit; }; sleep 0.05 2>/dev/null || sleep 1; done' sh `

// What killCommand says. Anything else is not known.
const (
	saysKilled = "killed\n"
	saysNone   = "none\n"
)

// kill runs killCommand on c, which is in use, in a session that is not one of
// c.limit: so there is one at a time. A connection on which it does not end in
// time takes no new command.
func (p *Pool) kill(c *conn, value string) (says string) {
	late := time.NewTimer(p.killing)
	defer late.Stop()
	select {
	case c.kills <- struct{}{}:
	case <-late.C:
		return ""
	}
	said := make(chan string, 1)
	p.wg.Go(func() {
		defer func() { <-c.kills }()
		said <- ask(c.last(), killCommand+value)
	})
	select {
	case says = <-said:
	case <-late.C:
		p.drop(c)
	}
	return says
}

// ask gives the first few bytes of what a command of our own prints.
func ask(client *ssh.Client, command string) string {
	s, err := client.NewSession()
	if err != nil {
		return ""
	}
	defer func() { _ = s.Close() }()
	out, err := s.StdoutPipe()
	if err != nil {
		return ""
	}
	if mark(s, rand.Text()) != nil || s.Start(command) != nil {
		return ""
	}
	text := make([]byte, 16)
	n, _ := io.ReadFull(out, text) // less is no error
	return string(text[:n])
}

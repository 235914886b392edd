// Package policy decides allow, deny or ask for a tool call. It is pure: rules
// and a call go in, a [Decision] comes out; it runs nothing, reads nothing and
// knows no host.
//
// # Rules
//
// A rule is allow:, deny: or ask: followed by one of
//
//   - every tool
//     Tool              one tool, whatever its arguments
//     prefix*           every tool whose name starts so
//     Tool(pattern)     calls of a tool that the pattern matches
//
// without blanks around the colon: there is one way to write a rule. The first
// rule of a list that matches decides, and what none matches is ask. [Load]
// refuses what it does not understand, unknown tools included, and says where; a
// rule that was dropped because it was misspelled would be a hole or a riddle.
//
// A tool of a server that was added by configuration has a name of the form
// server__tool. Rules may name such a tool before it is there, and still when it
// is gone: a denial must hold when it comes back. * is about those too, and so is
// a prefix that they can begin with.
//
// What a pattern is depends on the tool (tools.go):
//
//   - a command: words separated by blanks, each a glob (*, ?, [a-z], [!a-z],
//     backslash for a literal character) that matches inside one word of the
//     command; a * alone at the end matches any number of further words, none
//     included. So "git *" covers git, and ?* is exactly one word with something in it.
//   - a path: // begins an absolute one, / is the workspace, ~/ the home and ./ the
//     working folder. A glob matches inside one name and ** any number of names,
//     none included, so /a/** is /a and everything below.
//   - a name, such as the method of zabbix_api: a glob for all of it.
//   - arguments: name=value, several with blanks between. A number matches the
//     same number, true and false a bool, all else is a glob for a text. A call
//     whose argument has another type than a rule wants is denied.
//   - @diagnostics: see below.
//   - of a configured tool: arguments, or the command if it was declared to have
//     one, or name=value … -- command.
//
// # Layers
//
// A [Policy] has four lists: the platform's, the roles' of who started the turn,
// the agent's and the run's. What any denies is denied, what any asks is asked,
// and only the agent's can allow. A [Role] is written otherwise: its denials
// fall to exceptions that are strictly narrower. Which tools an agent has, and
// what a token is for, are lists whose denials alone count.
//
// # Workspaces
//
// The tools Bash, Read, Write, Edit, Grep and Glob act in a folder of the run
// ([Place], [Workspace]). Its files may be read, and those below work/ written,
// where no rule of the agent says otherwise (workspace.go); the tools for files
// reach no others, whatever a rule says. Bash has no such rules.
//
// # Impact
//
// [Tools.Impact] says what an asked call does at worst (effect.go): it reads,
// changes, exposes, gains or gives rights, destroys, or is not known. It decides
// nothing about whether a call may run, but who may approve it, and whether a
// model may be asked instead. What is not in its tables is unknown.
//
// # Commands
//
// A command is parsed by a shell parser. Understood are simple commands of
// words without expansions, joined by |, &&, || and ;, with redirections of
// input, output and errors to files, and with settings before them that change
// nothing but how output looks (LC_ALL=C). Each command is judged, each file
// that a redirection opens is judged as a call of the tool that reads or writes
// files there, and the strictest verdict counts. [Decision.Canonical] is rebuilt
// from the parsed words, fully quoted, and parsed again to be sure: that text,
// not what the caller wrote, is to be shown, approved and sent.
//
// Everything else (other assignments, expansions, background, control
// structures, newlines, what does not parse) is ask at best. A deny rule still
// denies when it matches a simple command that is visible inside.
//
// Wildcards do not cover danger: an argument that makes its program run or
// write something else (danger.go), a program that runs what its arguments say,
// and an interpreter are allowed only by a rule that spells them out. A wrapper
// whose command can be read, such as timeout 5 df or sh -c 'df; free', is judged
// as that command (wrap.go); sudo too, but what it runs as another user is only
// allowed by a rule with sudo in it, or as one of the diagnostics. Deny and ask
// rules that name a program without a slash also match /any/path/to/it.
//
// A deny rule is about what such a program could run, too: each rest of its
// arguments is looked at as a command of its own, and what the list denies there
// is denied. So deny:* behind other rules is more than "and nothing else". The list
//
//	allow:ssh_execute(@diagnostics)
//	deny:*
//
// allows df -h and docker ps, and denies redis-cli ping, openssl x509 -noout -in
// /etc/ssl/certs/a.pem, kubectl get pods and timeout 5 df -h: nothing before deny:*
// allows a command ping, x509, get pods or 5 df -h. Without deny:* all of these
// are allowed and the rest is asked, which is what such a list is for.
//
// # Commands of configured tools
//
// A configured tool runs commands if somebody has declared which of its arguments
// is one ([Call].Shell); then that is judged as the commands of hosts are, by
// the rules about this tool and by the platform's. Another argument that is given
// may change what the command does (its folder, its environment, its host):
// unless it is a number or a yes or no, no rule allows the call that does not
// name the argument too, as in server__run(host=web* -- df *). While nobody has
// declared it, an argument that is called command, script or the like is
// allowed by a rule alone that has the whole of it, without wildcards; a rule
// that denies or asks about commands of the tool is then about all of its calls.
//
// # Diagnostics
//
// Tool(@diagnostics) matches the commands with which people on call look at a
// system, with the options that only show something (diagnostics.go). Such a
// command writes nothing, starts nothing, asks no other host than one with an
// address or a name of the own network, sends what it reads nowhere, shows no
// environment of a process and no file but logs and the state of the system. In it alone a file name pattern may
// stand without quotes, behind a folder where everything may be read. Of a tool
// that reads files it matches those same files.
//
// Not known from here is what a file on a host is: a link below /var/log that
// leads elsewhere is followed by the program that reads it.
//
// # Failure
//
// Control characters, bidirectional and invisible characters, invalid UTF-8,
// backslash-newline and more than [MaxCommand] bytes are denied before anything
// is parsed: no reader could tell what they are. The cost of a decision is
// bounded by that limit and those of a rule list; no glob tries more than its
// own length for each character.
package policy

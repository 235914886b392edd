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
//     Tool(pattern)     a tool that runs commands, when the command matches
//
// without blanks around the colon: there is one way to write a rule. The first
// rule that matches decides, and what none matches is ask. [Load] refuses what
// it does not understand, unknown tools included; a rule that was dropped
// because it was misspelled would be a hole or a riddle.
//
// A pattern is words separated by blanks. Each is a glob (*, ?, [a-z], [!a-z],
// backslash for a literal character) that matches inside one word of the
// command; a * alone at the end matches any number of further words, none
// included. So "git *" covers git, and ?* is exactly one word with something in it.
//
// # Commands
//
// A command is parsed by a shell parser. Understood are simple commands of
// words without expansions, joined by |, &&, || and ;. Each of them is judged
// and the strictest verdict counts. [Decision.Canonical] is rebuilt from the
// parsed words, fully quoted, and parsed again to be sure: that text, not what
// the caller wrote, is to be shown, approved and sent.
//
// Everything else (redirections, assignments, expansions, globs, background,
// control structures, newlines, what does not parse) is ask at best. A deny
// rule still denies when it matches a simple command that is visible inside.
//
// Wildcards do not cover danger: an argument that makes its program run or
// write something else (danger.go), a program that runs what its arguments say
// (sudo, xargs, sh), and an interpreter are allowed only by a rule that spells
// them out. Deny and ask rules that name a program without a slash also match
// /any/path/to/it.
//
// # Failure
//
// Control characters, bidirectional and invisible characters, invalid UTF-8,
// backslash-newline and more than [MaxCommand] bytes are denied before anything
// is parsed: no reader could tell what they are. Parsing cost is bounded by
// that limit.
package policy

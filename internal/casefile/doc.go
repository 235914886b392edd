// Package casefile is a case: an alert, the machines around it as scripts of what
// they print, and what an investigation of it should come to. Cases are what
// package eval runs; the api writes one from a run that has ended ([FromRun]),
// without its secrets ([Scrub]).
//
// A file is one YAML document; unknown keys, broken patterns and cases that could
// never be judged are errors. The package is pure: it reads bytes and starts nothing.
//
// # A script of a machine
//
// A command is looked for by its text, white space and quotes aside: first one
// that is written exactly so, then the first whose run matches with * for any text.
// What nobody wrote down is answered as a shell does: command not found, exit 127.
// A host that is like: linux has healthy answers to the usual questions besides its
// own, so that a case says only what is wrong.
//
// # A script of Zabbix
//
// An answer is a method, parameters that the request must have, and the result.
// Objects of a list are chosen by the ids and the time that a request names, as
// Zabbix would; a time written as -3h is that long before the question.
package casefile

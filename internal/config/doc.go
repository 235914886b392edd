// Package config reads a configuration file, in YAML, into the database: sources,
// credentials, targets, providers, tool servers, agents, sign-in, skills and
// runbooks. The public API does the same one by one; what it has stored, a file
// changes where it says something else, and removes nothing of it.
//
// A file is loaded whole or not at all. One that is wrong leaves in force what was
// loaded before, also when the process starts: a typing error must not cost
// alerts. It is shown wherever people look (see [Reloads]).
//
// Secrets are sealed on the way, each for the zone that may open it; errors quote
// nothing of a file. deploy/config/akmatori.yaml is an example of all there is.
package config

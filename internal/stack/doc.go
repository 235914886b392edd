// Package stack runs the api, the gateway, the proxy and a worker in one
// process on loopback, with the roles, keys and tokens that they have apart:
// each connects to Postgres as itself and meets the others on the network
// alone. It serves cmd/dev and the end-to-end tests; it is in no image.
//
// What must outlive a restart (keys, passwords, the worker token) lies in one
// folder, see [State]. Losing it loses what was sealed with it.
package stack

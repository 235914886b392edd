// Package fake is other companies on loopback: the vendors of language models,
// and hosts to investigate. It exists for tests and for the demo; no image and no
// process of a deployment links it.
package fake

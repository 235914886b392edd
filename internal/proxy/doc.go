// Package proxy is the credential proxy: the one process through which an agent
// reaches a model, and the one that puts the key into the request. The agent
// has a run token that is worth nothing elsewhere; the key is never in its reach.
//
// # What a request goes through
//
// POST /llm/{provider_id}/{path} with the run's token, in the header in which
// the vendor's client sends a key (Authorization, x-api-key or x-goog-api-key; never
// in the query), in this order
// ([Proxy.forward]); whatever fails says no, and nothing after it happens:
//
//  1. token: that of a running run, before its deadline (401)
//  2. provider: one of those that were bound to the run when it was claimed, the
//     first and its fallbacks (403)
//  3. method, path and query: exactly those of the provider's kind and, where the
//     path names a model, of its model (403)
//  4. the request: its body is read, up to [MaxBody], and must be one that package
//     llm sends to that kind of provider (403, see below); of its headers only those
//     on a list go on, so no credential, cookie, hop-by-hop or proxy header does
//  5. audit of the intent (503 if it cannot be written)
//  6. the credential: for this provider by its sealed target list, then opened
//  7. dial: the host is resolved, every address is judged, a judged one is
//     dialled (403); TLS is verified against the system's roots
//  8. answer: streamed as it comes, without redirects, cookies, trailers or
//     encodings that were not asked for, and without the injected key
//  9. audit of the outcome: status, bytes, latency
//
// Statuses of its own are 401, 403, 413, 429, 502 (the upstream, with a plain
// reason) and 503 (the database, or full). Their body has the shape of the
// protocol's errors. A 401 or 403 of the upstream becomes 502, because it is
// about the proxy's key and not about the agent's token, and its body may
// quote a part of the key.
//
// # What a body may be
//
// A vendor does more than to answer: it runs tools of its own, fetches addresses,
// stores conversations, and has dearer models. For an agent that was taken over
// these are ways out of its network. So a body is JSON of a known [shape], the
// same for every reader of it (each key once, as it is listed, and no other): the
// provider's model, words, and tools that are functions of the agent. There are
// no images, files or addresses in it, as package llm sends none. What it sends is
// what the shapes allow, for own servers as for vendors; a test sends each kind
// of request that it makes. The refusal names the key, and never a value. The model
// is that which the provider had when the run was claimed.
//
// # The end of a run
//
// Twice a second one query asks which tokens of the streams under way are still
// alive; the others are cut. The deadline of a run needs no query. While the
// database is away no run can end in it, so streams go on for [blindTime] and
// are cut then; new requests are refused at once.
//
// # What is full
//
// A run has at most [runStreams] requests under way with bodies of [runBodies]
// bytes together (429), a quarter of what all may have: [bodyMemory] (503). A body
// of unknown length counts as the longest. Nothing queues. A client that does not
// read for [writeTime] is cut; an answer ends at [MaxAnswer] bytes.
//
// # What it does not do
//
// The scrubbing of answers catches a service that echoes its key, in the usual
// encodings; it does not catch one that means to leak it, which has the key
// anyway. There is no list of the deployment's own addresses: an admin who
// allows private addresses for a provider names a host of that network. And only
// models are reached this way: there is no CONNECT, no interception of TLS, so
// no general egress for tools yet.
package proxy

// Package toolspec is what may be said about the tools of a configured server:
// it checks definitions, makes the request of a declared HTTP tool, compares what
// a server of MCP offers with what was accepted, and checks arguments by a JSON
// Schema from outside. It is pure: the api checks and previews with it, the
// gateway acts by it.
//
// # Requests
//
// A value stays in its place. In a path it is one segment or a part of one:
// slashes, backslashes, percent signs and control characters are refused, since
// who reads the path behind us may decode it once more, all else that means
// something in a URL is encoded, and no segment may become . or .. by it. Queries
// are encoded whole. A header's value is visible ASCII. Members of a body are
// JSON. Where a request goes, its method and the names of all things are the
// definition's alone.
//
// # Schemas from outside
//
// What a server of MCP says is data of a stranger. A description or schema that
// is too long, has characters that cannot be seen, refers to anything outside of
// itself or to itself in a circle, or does not compile, cannot be accepted, and
// the reason is kept for the admin. A schema's cost is bounded by its size with
// all references written out, and by numbers that are [Plain], there and in the
// arguments that it checks.
package toolspec

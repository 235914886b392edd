package ops

// EvidenceChunk is a piece of the whole output of a tool call that is longer
// than its result. A line is only cut if it is longer than a chunk.
type EvidenceChunk struct {
	N     int    // 0, 1, …
	Start int64  // where its first byte is in the output
	Size  int    // bytes of text
	Line  int64  // the line that its first byte is in, from 1
	Lines int    // lines that end in it
	Data  []byte // the text in raw DEFLATE (RFC 1951)
}

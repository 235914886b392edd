package ops

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
)

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

// Text inflates the data, and to no more than Size: anything else is an error.
func (c EvidenceChunk) Text() (string, error) {
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(c.Data)), int64(c.Size)+1))
	if err != nil || len(text) != c.Size {
		return "", fmt.Errorf("a chunk of evidence is damaged: %d bytes instead of %d: %w", len(text), c.Size, err)
	}
	return string(text), nil
}

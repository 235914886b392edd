package llm

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

// maxEvent bounds one event of a stream.
const maxEvent = 8 << 20

// events gives the data of each server-sent event of a stream
// (html.spec.whatwg.org/multipage/server-sent-events.html); names, ids and
// comments mean nothing here. An event without its empty line at the end is not
// whole and is not given. What is given is good until the next one.
func events(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 16<<10), maxEvent)
		var data []byte
		has := false
		for lines.Scan() {
			line := lines.Bytes() // without its \n or \r\n
			if len(line) == 0 {
				if has && !yield(data, nil) {
					return
				}
				data, has = data[:0], false
				continue
			}
			value, ok := bytes.CutPrefix(line, []byte("data"))
			if !ok {
				continue
			}
			if value, ok = bytes.CutPrefix(value, []byte(":")); !ok && len(value) > 0 {
				continue // another field
			}
			value, _ = bytes.CutPrefix(value, []byte(" "))
			if has {
				data = append(data, '\n')
			}
			if data, has = append(data, value...), true; len(data) > maxEvent {
				yield(nil, &Error{Kind: Malformed, Detail: "the answer is too long"})
				return
			}
		}
		switch err := lines.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			yield(nil, &Error{Kind: Malformed, Detail: "the answer is too long"})
		case err != nil:
			yield(nil, err)
		}
	}
}

// vendorStream is how the SDKs of vendors give an answer, event by event.
type vendorStream[E any] interface {
	Next() bool
	Current() E
	Err() error
	Close() error
}

// follow gives each event to add, says what add makes of it, and closes the
// stream. What the stream itself fails with is put into our terms by explain.
func follow[E any](stream vendorStream[E], add func(E) (Delta, error), say func(Delta), explain func(error) error) error {
	defer func() { _ = stream.Close() }()
	for stream.Next() {
		piece, err := add(stream.Current())
		if err != nil {
			return err
		}
		say(piece)
	}
	if err := stream.Err(); err != nil {
		return explain(err)
	}
	return nil
}

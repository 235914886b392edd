package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
)

// Limits of a followed timeline.
const (
	maxEvent    = 16 << 20
	streamQuiet = 90 * time.Second // a connection that says nothing for so long is replaced
	streamTries = 30               // in a row without an event
)

// errStop ends a stream that has been read as far as was wanted.
var errStop = errors.New("read enough")

// stream calls each with every event of an incident, in order, each once, until
// it says that no more is wanted. A lost connection is opened again behind the
// last event; refusals are not tried again.
func (c *client) stream(ctx context.Context, w *world, incident string, each func(raw []byte, e ops.Event) (more bool, err error)) error {
	last := int64(0)
	for tries := 0; ; tries++ {
		before := last
		err := c.streamOnce(ctx, incident, &last, each)
		refused, ok := errors.AsType[*apiError](err)
		switch {
		case errors.Is(err, errStop):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case ok && refused.Status < 500 && refused.Status != http.StatusTooManyRequests:
			return err
		}
		if last > before {
			tries = 0
		}
		if tries >= streamTries {
			return fmt.Errorf("the timeline was lost: %w", err)
		}
		if tries == 1 {
			_, _ = fmt.Fprintln(w.stderr, "The connection was lost; trying again.")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(time.Duration(1+tries*tries)*100*time.Millisecond, 4*time.Second)):
		}
	}
}

// streamOnce reads one connection. Its error is never nil.
func (c *client) streamOnce(ctx context.Context, incident string, last *int64, each func([]byte, ops.Event) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	header := http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {strconv.FormatInt(*last, 10)}}
	res, err := c.send(ctx, http.MethodGet, "incidents/"+url.PathEscape(incident)+"/stream", nil, nil, header)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	quiet := time.AfterFunc(streamQuiet, cancel)
	defer quiet.Stop()
	return readEvents(res.Body, func() { quiet.Reset(streamQuiet) }, func(data []byte) error {
		var e ops.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return errors.New("an event of the timeline is not understood")
		}
		if e.Seq <= *last {
			return nil
		}
		*last = e.Seq
		more, err := each(data, e)
		if err == nil && !more {
			err = errStop
		}
		return err
	})
}

// readEvents reads server-sent events and hands on the data of each. heard is
// called for every line, comments included.
func readEvents(r io.Reader, heard func(), event func(data []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxEvent)
	var data []byte
	for lines.Scan() {
		heard()
		line := lines.Bytes()
		if len(line) == 0 {
			if len(data) > 0 {
				if err := event(data); err != nil {
					return err
				}
			}
			data = data[:0]
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) != "data" {
			continue
		}
		if len(data) > 0 {
			data = append(data, '\n')
		}
		if data = append(data, bytes.TrimPrefix(value, []byte(" "))...); len(data) > maxEvent {
			return errors.New("an event of the timeline is too long")
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

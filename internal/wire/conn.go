package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
)

// Timeouts of one connection. A peer that is silent for readWait is gone: the
// other side pings every pingEvery.
const (
	writeWait = 10 * time.Second
	readWait  = 30 * time.Second
	pingEvery = 10 * time.Second
)

// Close codes of the application range (RFC 6455 section 7.4.2).
const (
	CloseVersion  = 4001 // hello spoke another version
	CloseProtocol = 4002 // a frame that does not fit
	CloseDraining = 4003 // the api is stopping; dial again
)

// Conn is one side of the conversation. One goroutine reads and one writes,
// both inside [Conn.Run].
type Conn struct {
	ws   *websocket.Conn
	out  chan []byte
	done chan struct{}
}

// Accept upgrades a request that the caller has authenticated. Browsers are
// refused: a worker sends no Origin.
func Accept(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	up := websocket.Upgrader{
		HandshakeTimeout: writeWait,
		CheckOrigin:      func(r *http.Request) bool { return r.Header.Get("Origin") == "" },
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	return newConn(ws), nil
}

// Dial opens a connection to url (ws:// or wss://) with the worker token. It
// returns an [ops.Error] with code unauthenticated if the token is refused.
func Dial(ctx context.Context, url string, token ops.Secret) (*Conn, error) {
	d := websocket.Dialer{HandshakeTimeout: writeWait}
	ws, resp, err := d.DialContext(ctx, url, http.Header{"Authorization": {"Bearer " + token.Reveal()}})
	if err != nil && resp != nil { // the start of what answered instead of an upgrade
		_ = resp.Body.Close()
	}
	if resp != nil && resp.StatusCode == http.StatusUnauthorized {
		return nil, ops.Errorf(ops.CodeUnauthenticated, "the api refused the worker token")
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", url, err)
	}
	return newConn(ws), nil
}

func newConn(ws *websocket.Conn) *Conn {
	ws.SetReadLimit(MaxFrame)
	return &Conn{ws: ws, out: make(chan []byte, SendQueue), done: make(chan struct{})}
}

// errClosed is what Send says after the end; why it ended is in Run's error.
var errClosed = errors.New("connection closed")

// Run reads frames and hands each to handle, in order, until the connection or
// ctx ends or handle fails. It owns the connection and always closes it; the
// error says why it ended and is never nil.
func (c *Conn) Run(ctx context.Context, handle func(context.Context, Frame) error) error {
	defer close(c.done)
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.read(ctx, handle) })
	g.Go(func() error { return c.write(ctx) })
	g.Go(func() error { // unblocks the reader
		<-ctx.Done()
		_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Second))
		_ = c.ws.Close()
		return context.Cause(ctx)
	})
	err := g.Wait()
	if cause := context.Cause(outer); cause != nil {
		return cause // and not what closing the socket did to the reader
	}
	return err
}

func (c *Conn) read(ctx context.Context, handle func(context.Context, Frame) error) error {
	alive := func() error { return c.ws.SetReadDeadline(time.Now().Add(readWait)) }
	c.ws.SetPongHandler(func(string) error { return alive() })
	for {
		if err := alive(); err != nil {
			return err
		}
		kind, data, err := c.ws.ReadMessage()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if kind != websocket.TextMessage {
			return c.fail(CloseProtocol, errors.New("binary frame"))
		}
		f, err := Decode(data)
		if err != nil {
			return c.fail(CloseProtocol, err)
		}
		if err := handle(ctx, f); err != nil {
			if e, ok := errors.AsType[*CloseError](err); ok {
				return c.fail(e.Code, e)
			}
			return err
		}
	}
}

// CloseError, returned by a handler of [Conn.Run], closes with that code.
type CloseError struct {
	Code   int
	Reason string
}

// Error implements error.
func (e *CloseError) Error() string { return e.Reason }

// fail tells the peer why, then ends. WriteControl may be called beside the writer.
func (c *Conn) fail(code int, err error) error {
	reason := err.Error()
	if len(reason) > 120 { // RFC 6455: 125 bytes with the code
		reason = reason[:120]
	}
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(writeWait))
	return err
}

func (c *Conn) write(ctx context.Context) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case data := <-c.out:
			_ = c.ws.SetWriteDeadline(time.Now().Add(writeWait))
			if err := c.ws.WriteMessage(websocket.TextMessage, data); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		case <-ping.C:
			if err := c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait)); err != nil {
				return fmt.Errorf("ping: %w", err)
			}
		}
	}
}

// ErrTooLarge is what Send says of a frame over [MaxFrame]: that one is not sent,
// and the connection goes on.
var ErrTooLarge = errors.New("the frame is over the limit")

// Send queues f. It blocks while the queue is full and fails if the connection
// or ctx ends first. Success means queued, not delivered.
func (c *Conn) Send(ctx context.Context, f Frame) error {
	var data bytes.Buffer
	e := json.NewEncoder(&data)
	e.SetEscapeHTML(false) // a log of XML would be six times as long
	if err := e.Encode(f); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if data.Len() > MaxFrame {
		return fmt.Errorf("send: %w: %d bytes of %d", ErrTooLarge, data.Len(), MaxFrame)
	}
	select {
	case c.out <- data.Bytes():
		return nil
	case <-c.done:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ClosedWith says whether err is the peer's close with one of codes.
func ClosedWith(err error, codes ...int) bool {
	if e, ok := errors.AsType[*websocket.CloseError](err); ok {
		for _, code := range codes {
			if e.Code == code {
				return true
			}
		}
	}
	return false
}

func strictUnmarshal(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("trailing data")
	}
	return nil
}

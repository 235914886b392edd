package wire

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "akmw_test"

// serve accepts connections and runs each with handle; how each ended comes on the channel.
func serve(t *testing.T, handle func(context.Context, *Conn, Frame) error) (url string, ended <-chan error) {
	t.Helper()
	ends := make(chan error, 8)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		c, err := Accept(w, r)
		if err != nil {
			ends <- err
			return
		}
		// A hijacked request's context never ends by itself.
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		ends <- c.Run(ctx, func(ctx context.Context, f Frame) error { return handle(ctx, c, f) })
	}))
	t.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http") + Path, ends
}

func echo(ctx context.Context, c *Conn, f Frame) error { return c.Send(ctx, f) }

func frames() map[string]Frame {
	ref := RunRef{Run: "r", Epoch: 3}
	return map[string]Frame{
		"hello":   {Hello: &Hello{Version: 1, Worker: "w", Build: "b", Slots: 2, Runs: []RunRef{ref}}},
		"welcome": {Welcome: &Welcome{Version: 1, Lease: time.Second, Acked: []Ack{{RunRef: ref, Seq: 9}}}},
		"ready":   {Ready: &Ready{Free: 2}},
		"task": {Task: &Task{RunRef: ref, Incident: ops.Incident{Title: "t"}, Alerts: []ops.Alert{{Title: "a"}},
			Transcript: []ops.Event{ops.NewEvent(ops.EventNotice, ops.Notice{Text: "x"})}, NextSeq: 4, Actor: "alert:am", Conclude: "r",
			Messages: []ops.RunMessage{{Seq: 3, Text: "x"}}, Context: &ops.Context{Similar: []ops.SimilarIncident{{Number: 1}}},
			History: []PastRun{{Run: "p", Transcript: []ops.Event{ops.NewEvent(ops.EventBriefing, ops.Briefing{Text: "b"})}}},
			Model:   ModelLease{Kind: "openai", Token: "akmp_x"}, GatewayToken: "akmg_x"}},
		"events":    {Events: &Events{RunRef: ref, Events: []ops.Event{ops.NewEvent(ops.EventTextDelta, ops.TextDelta{Text: "é\n"})}}},
		"ack":       {Ack: &Ack{RunRef: ref, Seq: 1}},
		"heartbeat": {Heartbeat: &Heartbeat{Runs: []RunRef{ref}}},
		"cancel":    {Cancel: &Cancel{RunRef: ref, Reason: "r", Lost: true}},
		"message":   {Message: &Message{RunRef: ref, Message: ops.RunMessage{Seq: 4, Actor: "user:ada", Text: "look at web-2"}}},
		"conclude":  {Conclude: &Conclude{RunRef: ref, Reason: "r"}},
		"fetch":     {Fetch: &Fetch{RunRef: ref, Skill: "disk", Version: 2, Digest: "sha256:00"}},
		"bundle":    {Bundle: &Bundle{RunRef: ref, Digest: "sha256:00", Files: []ops.SkillFile{{Path: "SKILL.md", Content: []byte("\x00\xff")}}}},
		"drain":     {Drain: &Drain{Reason: "r"}},
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	url, ended := serve(t, echo)
	c, err := Dial(t.Context(), url, ops.NewSecret(token))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan Frame, 1)
	done := make(chan error, 1)
	go func() {
		done <- c.Run(ctx, func(_ context.Context, f Frame) error { got <- f; return nil })
	}()
	for name, f := range frames() {
		require.NoError(t, c.Send(ctx, f))
		require.Equal(t, f, <-got, name)
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Error(t, <-ended)
	require.Eventually(t, func() bool { return errors.Is(c.Send(t.Context(), Frame{Ready: &Ready{}}), errClosed) },
		5*time.Second, time.Millisecond)
}

func TestDialRefused(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, echo)
	_, err := Dial(t.Context(), url, ops.NewSecret("akmw_other"))
	require.Equal(t, ops.CodeUnauthenticated, ops.CodeOf(err))
	require.NotContains(t, err.Error(), "akmw_other")
	_, err = Dial(t.Context(), "ws://127.0.0.1:1"+Path, ops.NewSecret(token))
	require.Error(t, err)
	require.Equal(t, ops.CodeInternal, ops.CodeOf(err))
}

func TestBrowsersAreRefused(t *testing.T) {
	t.Parallel()
	url, ended := serve(t, echo)
	_, resp, err := websocket.DefaultDialer.DialContext(t.Context(), url,
		http.Header{"Authorization": {"Bearer " + token}, "Origin": {"https://evil.example"}})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Error(t, <-ended)
}

// raw dials without Conn, to say what Conn never says.
func raw(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.DialContext(t.Context(), url, http.Header{"Authorization": {"Bearer " + token}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

func TestBadFramesEndTheConnection(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind int
		data string
		code int
	}{
		"binary":         {websocket.BinaryMessage, `{"ready":{"free":1}}`, CloseProtocol},
		"no JSON":        {websocket.TextMessage, `{`, CloseProtocol},
		"unknown type":   {websocket.TextMessage, `{"shutdown":{}}`, CloseProtocol},
		"unknown field":  {websocket.TextMessage, `{"ready":{"free":1,"force":true}}`, CloseProtocol},
		"two types":      {websocket.TextMessage, `{"ready":{"free":1},"drain":{"reason":"x"}}`, CloseProtocol},
		"no type":        {websocket.TextMessage, `{}`, CloseProtocol},
		"null":           {websocket.TextMessage, `{"ready":null}`, CloseProtocol},
		"trailing bytes": {websocket.TextMessage, `{"ready":{"free":1}} {}`, CloseProtocol},
		"over the limit": {websocket.TextMessage, `{"drain":{"reason":"` + strings.Repeat("x", MaxFrame) + `"}}`, websocket.CloseMessageTooBig},
		"handler's code": {websocket.TextMessage, `{"ready":{"free":-1}}`, CloseVersion},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, ended := serve(t, func(context.Context, *Conn, Frame) error {
				return &CloseError{Code: CloseVersion, Reason: strings.Repeat("long ", 100)}
			})
			ws := raw(t, url)
			_ = ws.WriteMessage(tt.kind, []byte(tt.data)) // the peer may close while we write
			require.NoError(t, ws.SetReadDeadline(time.Now().Add(10*time.Second)))
			_, _, err := ws.ReadMessage()
			if tt.code != websocket.CloseMessageTooBig { // there the close frame may be lost to a reset
				require.True(t, ClosedWith(err, tt.code), "%v", err)
			}
			require.Error(t, err)
			require.Error(t, <-ended)
		})
	}
}

func TestSendRefusesOversize(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, echo)
	c, err := Dial(t.Context(), url, ops.NewSecret(token))
	require.NoError(t, err)
	require.ErrorIs(t, c.Send(t.Context(), Frame{Drain: &Drain{Reason: strings.Repeat("x", MaxFrame)}}), ErrTooLarge)
	require.NoError(t, c.Send(t.Context(), Frame{Drain: &Drain{Reason: strings.Repeat("<", MaxFrame/2)}}), "what is said of a frame's size is true of any text")
	end(t, c)
}

func TestSendBlocksWhenTheQueueIsFull(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, echo)
	c, err := Dial(t.Context(), url, ops.NewSecret(token))
	require.NoError(t, err)
	for range SendQueue { // nobody runs it yet
		require.NoError(t, c.Send(t.Context(), Frame{Ready: &Ready{}}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Send(ctx, Frame{Ready: &Ready{}}), context.Canceled)
	end(t, c)
}

// end runs c until it is over at once.
func end(t *testing.T, c *Conn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, c.Run(ctx, func(context.Context, Frame) error { return nil }))
}

func TestHandlerErrorAndPeerGone(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	url, ended := serve(t, func(context.Context, *Conn, Frame) error { return broken })
	ws := raw(t, url)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"ready":{"free":1}}`)))
	require.ErrorIs(t, <-ended, broken)
	require.False(t, ClosedWith(broken, CloseVersion))

	ws = raw(t, url)
	require.NoError(t, ws.UnderlyingConn().Close()) // as a crash does
	require.Error(t, <-ended)
}

func FuzzDecode(f *testing.F) {
	for _, frame := range frames() {
		data, err := json.Marshal(frame)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"ready":{"free":1},"Ready":{"free":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := Decode(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(frame)
		require.NoError(t, err)
		second, err := Decode(again)
		require.NoError(t, err, "%s", again)
		third, err := json.Marshal(second)
		require.NoError(t, err)
		require.Equal(t, string(again), string(third))
	})
}

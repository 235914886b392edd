package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres/pgtest"
)

// reader is a client of a stream.
type reader struct {
	t      *testing.T
	status int
	events chan ops.Event // closed at the end
	close  func()
}

func (r *rig) open(t *testing.T, path string, header ...string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	req, err := http.NewRequestWithContext(ctx, "GET", r.PublicURL()+path, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	s := &reader{t: t, status: resp.StatusCode, events: make(chan ops.Event, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.events)
		defer func() { _ = resp.Body.Close() }()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		id := ""
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = v
			}
			if v, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e ops.Event
				if json.Unmarshal([]byte(v), &e) != nil || strconv.FormatInt(e.Seq, 10) != id {
					return
				}
				s.events <- e
			}
		}
	}()
	s.close = func() { cancel(); <-done }
	t.Cleanup(s.close)
	return s
}

func (s *reader) next() ops.Event {
	s.t.Helper()
	select {
	case e, ok := <-s.events:
		require.True(s.t, ok, "the stream has ended")
		return e
	case <-time.After(soon):
		require.FailNow(s.t, "no event came")
	}
	panic("unreachable")
}

func (s *reader) ended() {
	s.t.Helper()
	late := time.After(soon)
	for {
		select {
		case _, ok := <-s.events:
			if !ok {
				return
			}
		case <-late:
			require.FailNow(s.t, "the stream goes on")
		}
	}
}

func TestStreamFollowsAndResumes(t *testing.T) {
	t.Parallel()
	pg := pgtest.New(t)
	r := start(t, pg, nil)
	r.makeUser()
	other := start(t, pg, nil) // writes of another replica
	src := r.source("am")
	require.Equal(t, 202, r.post(src, firing("A")).status)
	auth := []string{"Authorization", "Bearer " + r.token}

	s := r.open(t, "/api/v1/incidents/1/stream", auth...)
	require.Equal(t, 200, s.status)
	for want := range int64(3) {
		require.Equal(t, want+1, s.next().Seq)
	}
	other.token = r.token
	require.Equal(t, 200, other.call("POST", "/api/v1/incidents/1/acknowledge", nil).status)
	e := s.next()
	require.Equal(t, int64(4), e.Seq)
	require.Equal(t, ops.EventIncidentChanged, e.Kind)
	require.Equal(t, "user:ann", e.Actor)
	s.close()

	require.Equal(t, 202, r.post(src, resolved("A")).status)
	s = r.open(t, "/api/v1/incidents/1/stream?after=1", append(auth, "Last-Event-ID", "4")...)
	require.Equal(t, int64(5), s.next().Seq, "the header counts more than the query")
	require.Equal(t, int64(6), s.next().Seq)
	s = r.open(t, "/api/v1/incidents/1/stream?after=5", auth...)
	require.Equal(t, int64(6), s.next().Seq)

	for path, want := range map[string]int{
		"/api/v1/incidents/99/stream":            404,
		"/api/v1/incidents/x/stream":             404,
		"/api/v1/incidents/1/stream?after=-1":    422,
		"/api/v1/incidents/1/stream?after=first": 422,
	} {
		require.Equal(t, want, r.call("GET", path, nil).status, path)
	}
	require.Equal(t, 422, r.send(http.DefaultClient, "GET", "/api/v1/incidents/1/stream", nil, append(auth, "Last-Event-ID", "x")...).status)
}

// TestStreamWithoutNotifications: a notification is a hint.
func TestStreamWithoutNotifications(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var i ops.Incident
	r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).into(t, &i)
	s := r.open(t, "/api/v1/incidents/"+i.ID+"/stream", "Authorization", "Bearer "+r.token)
	s.next()
	require.Equal(t, 1, count(t, r.pg, `WITH u AS (UPDATE incidents SET last_seq = last_seq + 1 RETURNING id, last_seq),
		e AS (INSERT INTO events (incident_id, seq, at, kind, data) SELECT id, last_seq, now(), 'notice', '{"text":"silent"}' FROM u RETURNING 1)
		SELECT count(*) FROM e`))
	for e := s.next(); e.Kind != ops.EventNotice; e = s.next() {
	}
}

// TestStreamEndsWithTheRight to read, within a second or so, whichever way it is
// taken; and those of others go on.
func TestStreamEndsWithTheRight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
	const path = "/api/v1/incidents/1/stream"
	other := r.open(t, path, "Authorization", "Bearer "+r.token)
	other.next()

	home, err := url.Parse(r.PublicURL())
	require.NoError(t, err)
	token := func(b *http.Client) (made createdToken) {
		r.send(b, "POST", "/api/v1/tokens", map[string]string{"name": "x"}).into(t, &made)
		return made
	}
	change := func(name string, body map[string]any) int {
		return r.call("PATCH", "/api/v1/users/"+r.accountID(name), body).status
	}
	for name, tt := range map[string]struct {
		byToken bool
		take    func(name string, b *http.Client, made createdToken) int
		status  int
	}{
		"logout": {status: 204, take: func(_ string, b *http.Client, _ createdToken) int {
			return r.send(b, "POST", "/api/v1/auth/logout", nil).status
		}},
		"another-session": {status: 204, take: func(name string, b *http.Client, _ createdToken) int {
			second := r.signIn(name, password)
			for _, s := range r.sessionsSeen(second, "/api/v1/auth/sessions") {
				if !s.Current {
					return r.send(second, "DELETE", "/api/v1/auth/sessions/"+s.ID, nil).status
				}
			}
			return 0
		}},
		"admin": {status: 204, take: func(name string, _ *http.Client, _ createdToken) int {
			return r.call("DELETE", "/api/v1/users/"+r.accountID(name)+"/sessions", nil).status
		}},
		"disabled": {status: 200, take: func(name string, _ *http.Client, _ createdToken) int {
			return change(name, map[string]any{"disabled": true})
		}},
		"roles": {status: 200, take: func(name string, _ *http.Client, _ createdToken) int {
			return change(name, map[string]any{"roles": []string{}})
		}},
		"token": {byToken: true, status: 204, take: func(_ string, b *http.Client, made createdToken) int {
			return r.send(b, "DELETE", "/api/v1/tokens/"+made.ID, nil).status
		}},
		"token-disabled": {byToken: true, status: 200, take: func(name string, _ *http.Client, _ createdToken) int {
			return change(name, map[string]any{"disabled": true})
		}},
	} {
		b := r.guest(name, "viewer")
		made := token(b)
		cookie := b.Jar.Cookies(home)[0]
		header := []string{"Cookie", cookie.Name + "=" + cookie.Value}
		if tt.byToken {
			header = []string{"Authorization", "Bearer " + made.Token}
		}
		s := r.open(t, path, header...)
		s.next()
		require.Equal(t, tt.status, tt.take(name, b, made), name)
		s.ended()
	}
	require.Equal(t, 200, r.call("POST", "/api/v1/incidents/1/acknowledge", nil).status)
	for e := other.next(); e.Kind != ops.EventIncidentChanged; e = other.next() {
	}
}

// TestStreamEndsAmidABacklog, which a slow reader could otherwise read to its
// end long after the right has gone.
func TestStreamEndsAmidABacklog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
	const backlog = 5000 // of 8 kB: several times what all buffers between the two hold
	require.Equal(t, backlog, count(t, r.pg, fmt.Sprintf(`WITH u AS (UPDATE incidents SET last_seq = last_seq + %d RETURNING id, last_seq),
		e AS (INSERT INTO events (incident_id, seq, at, kind, data) SELECT id, last_seq + 1 - n, now(), 'notice', jsonb_build_object('text', repeat('x', 8000))
			FROM u, generate_series(1, %d) n RETURNING 1)
		SELECT count(*) FROM e`, backlog, backlog)))
	var made createdToken
	r.call("POST", "/api/v1/tokens", map[string]string{"name": "x"}).into(t, &made)
	s := r.open(t, "/api/v1/incidents/1/stream", "Authorization", "Bearer "+made.Token)
	s.next()
	revoked := r.call("DELETE", "/api/v1/tokens/"+made.ID, nil).status
	<-time.After(streamCheck) // the server is writing to somebody who does not read: the next question is due
	read := 1
	for range s.events {
		read++
	}
	require.Equal(t, 204, revoked)
	require.Less(t, read, backlog, "all was given to somebody who may not read it")
}

func TestStreamEndsWithTheServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	require.Equal(t, 201, r.call("POST", "/api/v1/incidents", map[string]string{"title": "x"}).status)
	s := r.open(t, "/api/v1/incidents/1/stream", "Authorization", "Bearer "+r.token)
	s.next()
	began := time.Now()
	r.stop()
	s.ended()
	require.Less(t, time.Since(began), 5*time.Second, "a stream holds no shutdown up")
}

func TestHubBoundsStreams(t *testing.T) {
	t.Parallel()
	h := newHub(prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"}))
	var leaves []func()
	for range maxUserStreams {
		_, leave, err := h.join("ann", "i")
		require.NoError(t, err)
		leaves = append(leaves, leave)
	}
	_, _, err := h.join("ann", "i")
	require.Error(t, err)
	woken, leave, err := h.join("bob", "i")
	require.NoError(t, err)
	h.wake("", "other")
	require.Empty(t, woken)
	h.wake("", "i")
	h.wake("", "i")
	require.Len(t, woken, 1)
	<-woken
	h.wake("", "")
	require.Len(t, woken, 1)
	for _, l := range append(leaves, leave) {
		l()
	}
	require.Empty(t, h.users)
	require.Empty(t, h.wakes)
	require.Zero(t, h.total)
}

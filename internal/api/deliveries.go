package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

const (
	// idsFor is how long a sender's id makes a repetition free: PagerDuty tries for
	// 48 hours, nobody longer.
	idsFor    = 7 * 24 * time.Hour
	idsAtOnce = 10_000
)

// forgetDeliveryIDs removes the senders' ids that are too old to come again.
func (s *API) forgetDeliveryIDs(ctx context.Context) error {
	for {
		n, err := s.db.DeleteOldDeliveryIDs(ctx, time.Now().Add(-idsFor), idsAtOnce)
		if err != nil || n < idsAtOnce {
			return err
		}
	}
}

type deliveryQuery struct {
	ID      string `path:"id" maxLength:"36" doc:"The source's id."`
	Problem string `query:"problem" enum:"any,open" doc:"any: those from which not everything was read. open: those of them that were not replayed, the dead letters."`
	Cursor  string `query:"cursor" maxLength:"100"`
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

type deliveryPath struct {
	ID string `path:"id" maxLength:"36"`
}

// maxShown is how much of a body is shown.
const maxShown = 1 << 20

// shownDelivery is a delivery with its body as text.
type shownDelivery struct {
	postgres.StoredDelivery
	Body string `json:"body" doc:"What was sent, as text: what is not UTF-8 is replaced. It comes from outside and may say anything: never show it as markup."`
	Cut  bool   `json:"cut" doc:"Whether the body is longer than what is shown."`
}

// replayed is what came of a replay.
type replayed struct {
	ID      string `json:"id"`
	Alerts  int    `json:"alerts" doc:"How many were read and stored."`
	Problem string `json:"problem,omitempty" doc:"Why it stays a dead letter."`
}

type replayAll struct {
	ID   string `path:"id" maxLength:"36" doc:"The source's id."`
	Body struct {
		Unproven bool   `json:"unproven,omitempty" doc:"Those as well whose secret or signature was wrong: whoever sent them is then believed."`
		Cursor   string `json:"cursor,omitempty" maxLength:"100" doc:"Goes on behind those that were tried."`
		Limit    int    `json:"limit,omitempty" minimum:"1" maximum:"200" default:"100"`
	}
}

type replayedAll struct {
	Replayed   int        `json:"replayed" doc:"How many are no longer dead letters."`
	Alerts     int        `json:"alerts"`
	Failed     []replayed `json:"failed" nullable:"false" doc:"Those that still have a problem."`
	NextCursor string     `json:"next_cursor" doc:"Give it as cursor to go on; empty when all were tried."`
}

func (s *API) deliveryOperations(api huma.API) {
	const tag = "configuration"
	handle(s, api, operation{id: "list-deliveries", method: http.MethodGet, path: "/sources/{id}/deliveries", summary: "What a sender sent, newest first", tag: tag}, s.listDeliveries)
	handle(s, api, operation{id: "replay-deliveries", method: http.MethodPost, path: "/sources/{id}/deliveries/replay",
		summary: "Read the dead letters of a sender again, oldest first", tag: tag}, s.replayDeliveries)
	handle(s, api, operation{id: "get-delivery", method: http.MethodGet, path: "/deliveries/{id}", summary: "One delivery as it came", tag: tag}, s.getDelivery)
	handle(s, api, operation{id: "get-alert-delivery", method: http.MethodGet, path: "/deliveries/of-alert/{id}", tag: tag,
		summary: "The newest delivery that an alert came with"}, s.getAlertDelivery)
	handle(s, api, operation{id: "replay-delivery", method: http.MethodPost, path: "/deliveries/{id}/replay",
		summary: "Read a dead letter again, with the settings and options of now", tag: tag}, s.replayDelivery)
}

func (s *API) listDeliveries(ctx context.Context, _ caller, in *deliveryQuery) (*answer[list[postgres.StoredDelivery]], error) {
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	f := postgres.DeliveryFilter{Source: src.ID, Problem: in.Problem, Limit: in.Limit}
	if f.From, err = placeOf(in.Cursor); err != nil {
		return nil, err
	}
	all, err := s.db.Deliveries(ctx, f)
	page, err := items(all, err)
	if err == nil && len(all) == in.Limit {
		page.Body.NextCursor = cursorOf(all[len(all)-1])
	}
	return page, err
}

// cursorOf names the place of a delivery.
func cursorOf(d postgres.StoredDelivery) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(d.ReceivedAt.UnixMicro(), 10) + "/" + d.ID))
}

func placeOf(cursor string) (postgres.DeliveryPlace, error) {
	if cursor == "" {
		return postgres.DeliveryPlace{}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	micros, id, _ := strings.Cut(string(text), "/")
	at, nerr := strconv.ParseInt(micros, 10, 64)
	if err != nil || nerr != nil || !ops.ValidID(id) || at < 0 || at > time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() {
		return postgres.DeliveryPlace{}, ops.Errorf(ops.CodeInvalid, "the cursor is not one of ours")
	}
	return postgres.DeliveryPlace{At: time.UnixMicro(at).UTC(), ID: id}, nil
}

func (s *API) getDelivery(ctx context.Context, _ caller, in *deliveryPath) (*answer[shownDelivery], error) {
	d, err := s.db.Delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	body, err := s.db.DeliveryBody(ctx, d.ID, maxShown)
	return &answer[shownDelivery]{shownDelivery{StoredDelivery: d, Body: strings.ToValidUTF8(string(body), "\uFFFD"), Cut: d.Size > maxShown}}, err
}

func (s *API) getAlertDelivery(ctx context.Context, who caller, in *deliveryPath) (*answer[shownDelivery], error) {
	id, err := s.db.DeliveryOfAlert(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return s.getDelivery(ctx, who, &deliveryPath{ID: id})
}

// replay reads a dead letter again and stores what is read, as if it came now
// but dated as it came then.
func (s *API) replay(ctx context.Context, src sender, d postgres.StoredDelivery) (replayed, error) {
	kind, ok := ingest.Lookup(src.Kind)
	if !ok {
		return replayed{}, ops.Errorf(ops.CodeNotFound, "there is no such source")
	}
	body, err := s.db.DeliveryBody(ctx, d.ID, maxBody)
	if err != nil {
		return replayed{}, err
	}
	var again ops.Delivery
	if d.ContentType == ops.OwnContentType { // not in the sender's words
		own, err := ops.ReadOwn(body)
		if err != nil {
			return replayed{}, err
		}
		again = ops.Delivery{SourceID: src.ID, Reason: own.Reason, Several: kind.Several, ReceivedAt: d.ReceivedAt, Alerts: own.Alerts}
	} else {
		again = s.read(src, kind, ingest.Request{Header: http.Header{"Content-Type": {d.ContentType}}, Body: body, ReceivedAt: d.ReceivedAt})
	}
	again.ID, again.Replay, again.SenderID = d.ID, true, ""
	out := replayed{ID: d.ID, Alerts: len(again.Alerts), Problem: again.Problem}
	if again.Problem != "" && len(again.Alerts) == 0 {
		return out, s.db.NoteReplay(ctx, d.ID, again.Problem)
	}
	stored, err := s.intake.store(again)
	if err != nil {
		return replayed{}, err
	}
	if stored.DuplicateOf != "" {
		return replayed{}, ops.Errorf(ops.CodeConflict, "it was replayed already")
	}
	out.Alerts, out.Problem = len(stored.Alerts), stored.Problem // the database may have refused its alerts
	return out, nil
}

// replayable gives the source of dead letters, which must be on: one that is
// off takes no alerts.
func (s *API) replayable(ctx context.Context, id string) (sender, error) {
	src, err := s.db.Source(ctx, id)
	if err == nil && !src.Enabled {
		err = ops.Errorf(ops.CodeConflict, "the source is off: turn it on first")
	}
	return sender{Source: src}, err
}

func (s *API) replayDelivery(ctx context.Context, who caller, in *deliveryPath) (*answer[replayed], error) {
	d, err := s.db.Delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if d.Problem == "" {
		return nil, ops.Errorf(ops.CodeConflict, "it is no dead letter: everything was read from it")
	}
	if !d.ReplayedAt.IsZero() {
		return nil, ops.Errorf(ops.CodeConflict, "it was replayed already")
	}
	src, err := s.replayable(ctx, d.SourceID)
	if err != nil {
		return nil, err
	}
	var out replayed
	detail := map[string]string{"source": src.ID, "name": src.Name, "unproven": strconv.FormatBool(d.Unproven)}
	err = s.audited(ctx, who, "delivery.replayed", d.ID, detail, func() (err error) {
		out, err = s.replay(ctx, src, d)
		detail["alerts"], detail["problem"] = strconv.Itoa(out.Alerts), out.Problem
		return err
	})
	return &answer[replayed]{out}, err
}

// replayWithin leaves time to answer: what is left is for the next call.
const replayWithin = queryWithin / 2

func (s *API) replayDeliveries(ctx context.Context, who caller, in *replayAll) (*answer[replayedAll], error) {
	src, err := s.replayable(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	after, err := placeOf(in.Body.Cursor)
	if err != nil {
		return nil, err
	}
	letters, err := s.db.OpenLettersAfter(ctx, src.ID, after, in.Body.Unproven, in.Body.Limit)
	if err != nil {
		return nil, err
	}
	out := replayedAll{Failed: []replayed{}}
	if len(letters) == in.Body.Limit {
		out.NextCursor = cursorOf(letters[len(letters)-1])
	}
	detail := map[string]string{"name": src.Name, "letters": strconv.Itoa(len(letters)), "unproven": strconv.FormatBool(in.Body.Unproven)}
	err = s.audited(ctx, who, "source.deliveries_replayed", src.ID, detail, func() error {
		defer func() {
			detail["replayed"], detail["failed"], detail["alerts"] = strconv.Itoa(out.Replayed), strconv.Itoa(len(out.Failed)), strconv.Itoa(out.Alerts)
		}()
		began := time.Now()
		for n, d := range letters {
			if n > 0 && time.Since(began) > replayWithin {
				out.NextCursor = cursorOf(letters[n-1])
				return nil
			}
			one, err := s.replay(ctx, src, d)
			switch {
			case ops.CodeOf(err) == ops.CodeConflict: // somebody else has
				continue
			case err != nil:
				return fmt.Errorf("delivery %s: %w", d.ID, err)
			case one.Problem != "":
				out.Failed = append(out.Failed, one)
			default:
				out.Replayed++
			}
			out.Alerts += one.Alerts
		}
		return nil
	})
	return &answer[replayedAll]{out}, err
}

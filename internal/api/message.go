package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

type said struct {
	ID   string `path:"id" maxLength:"64" doc:"The incident's id or its number."`
	Body struct {
		Text string `json:"text" minLength:"1" maxLength:"8000"`
	}
}

// heard says where a message stands.
type heard struct {
	Seq int64 `json:"seq" doc:"The number of the message in the timeline."`
}

func (s *API) messageOperations(api huma.API) {
	handle(s, api, operation{id: "message-incident", method: http.MethodPost, path: "/incidents/{id}/message", tag: "incidents", status: http.StatusAccepted,
		summary: "Say something to the agent: it reads it before its next turn. A run that acts for somebody else makes way for one that acts for you, " +
			"and when none is live one is started; both go on with what was found so far"}, s.message)
}

func (s *API) message(ctx context.Context, who caller, in *said) (*answer[heard], error) {
	i, err := s.incident(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(storable(in.Body.Text))
	if text == "" {
		return nil, ops.Errorf(ops.CodeInvalid, "the message is empty")
	}
	var out heard
	// The text is on the timeline; the audit says that there was one.
	err = s.audited(ctx, who, "incident.message", i.ID, map[string]string{"number": strconv.FormatInt(i.Number, 10), "bytes": strconv.Itoa(len(text))}, func() (err error) {
		out.Seq, err = s.db.Say(ctx, postgres.Say{Incident: i.ID, Actor: who.actor(), Text: text,
			May: func(agent string) error { return mayStart(who, agent) }})
		return err
	})
	return &answer[heard]{out}, err
}

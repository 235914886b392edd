package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"github.com/akmatori/akmatori/internal/ingest"
	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/internal/postgres"
)

const (
	reconcileWithin = 25 * time.Second // for one source
	reconcileLease  = time.Minute      // and for nobody else to do it meanwhile
	reconcileAtOnce = 4
	reconcileBatch  = 8 // sources that one turn of the chore takes, within choreWithin

	// defaultPatience is how long a delivery may be on its way, where the options
	// do not say how often to ask.
	defaultPatience = 5 * time.Minute

	maxOpen     = 50_000 // alerts of one source that are compared
	perDelivery = 500    // alerts of one delivery of ours
)

// Reasons, as the timeline shows them.
const (
	reasonMissed = "found by reconciliation: it goes on at its sender, and no delivery has told of it"
	reasonAcked  = "found by reconciliation: it was acknowledged at its sender, and no delivery has told of it"
	reasonEnded  = "found by reconciliation: its sender no longer has it, and no delivery has told of its end"
)

// asker asks the sender of a source for all of its open alerts.
type asker func(context.Context, ops.Source, ops.Secret) (listing, error)

// askers are of the kinds of source that can be asked.
func (s *API) askers() map[string]asker {
	return map[string]asker{"alertmanager": s.askAlertmanager, "zabbix": s.askZabbix}
}

type newReconcileSecret struct {
	ID   string `path:"id" maxLength:"36"`
	Body struct {
		Token    ops.Secret `json:"token,omitempty" maxLength:"4096" doc:"Sent as bearer."`
		Username string     `json:"username,omitempty" maxLength:"256" doc:"With the password, for basic authentication."`
		Password ops.Secret `json:"password,omitempty" maxLength:"4096"`
	}
}

func (s *API) reconcileOperations(api huma.API) {
	const tag, path = "configuration", "/sources/{id}/reconcile"
	handle(s, api, operation{id: "get-reconciliation", method: http.MethodGet, path: path, summary: "What asking a sender for its open alerts has come to", tag: tag},
		func(ctx context.Context, _ caller, in *sourcePath) (*answer[ops.Reconciliation], error) {
			src, err := s.db.Source(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			r, err := s.db.Reconciliation(ctx, src.ID)
			return &answer[ops.Reconciliation]{r}, err
		})
	handle(s, api, operation{id: "reconcile-source", asks: true, method: http.MethodPost, path: path, summary: "Ask a sender for its open alerts now, and take in what was missed", tag: tag},
		func(ctx context.Context, who caller, in *sourcePath) (*answer[ops.Reconciliation], error) {
			src, err := s.db.Source(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			if err := s.audited(ctx, who, "source.reconciled", src.ID, map[string]string{"name": src.Name}, func() error { return s.reconcile(ctx, src) }); err != nil {
				return nil, err
			}
			r, err := s.db.Reconciliation(ctx, src.ID)
			return &answer[ops.Reconciliation]{r}, err
		})
	handle(s, api, operation{id: "set-reconcile-secret", method: http.MethodPut, path: path + "/secret",
		summary: "Set what proves us to a sender that is asked for its alerts; an empty body removes it", tag: tag}, s.setReconcileSecret)
}

// setReconcileSecret keeps a secret sealed, for the address that the options
// name: with another address it must be given again.
func (s *API) setReconcileSecret(ctx context.Context, who caller, in *newReconcileSecret) (*answer[ops.Reconciliation], error) {
	src, err := s.db.Source(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	var header ops.Secret
	switch b := in.Body; {
	case src.Kind != "alertmanager":
		return nil, ops.Errorf(ops.CodeInvalid, "a source of kind %s is not asked with a secret of its own", src.Kind)
	case !b.Token.Empty() && (b.Username != "" || !b.Password.Empty()):
		return nil, ops.Errorf(ops.CodeInvalid, "give a token, or a username with a password, and not both")
	case !b.Token.Empty():
		header = ops.NewSecret("Bearer " + b.Token.Reveal())
	case b.Username != "" || !b.Password.Empty():
		header = ops.NewSecret("Basic " + base64.StdEncoding.EncodeToString([]byte(b.Username+":"+b.Password.Reveal())))
	}
	if slices.ContainsFunc([]byte(header.Reveal()), func(c byte) bool { return c < ' ' || c == 0x7f }) {
		return nil, ops.Errorf(ops.CodeInvalid, "the token contains a line break or another control character")
	}
	var sealed []byte
	if !header.Empty() {
		if src.Options.Reconcile.URL == "" {
			return nil, ops.Errorf(ops.CodeInvalid, "set reconcile.url in the source's options first: the secret is kept for that address alone")
		}
		ring, err := s.ring()
		if errors.Is(err, errNoRing) {
			return nil, ops.Errorf(ops.CodeInvalid, "this deployment cannot keep secrets for senders: it has no AKMATORI_API_KEY")
		}
		if err != nil {
			return nil, err
		}
		if sealed, err = ring.Public().Seal(src.ReconcileCredential(nil), header); err != nil {
			return nil, err
		}
	}
	err = s.audited(ctx, who, "source.reconcile_secret_replaced", src.ID, map[string]string{"name": src.Name}, func() error {
		return s.db.SetReconcileSecret(ctx, src.ID, sealed)
	})
	if err != nil {
		return nil, err
	}
	r, err := s.db.Reconciliation(ctx, src.ID)
	return &answer[ops.Reconciliation]{r}, err
}

// reconcileDue asks the senders that are due. One that cannot be asked does not
// fail the chore: its source's health says so.
func (s *API) reconcileDue(ctx context.Context) error {
	ids, err := s.db.ReconcileDue(ctx, reconcileBatch)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(reconcileAtOnce)
	for _, id := range ids {
		g.Go(func() error {
			src, err := s.db.Source(ctx, id)
			if err == nil {
				err = s.reconcile(ctx, src)
			}
			if err != nil && ctx.Err() == nil {
				s.log.Warn("a sender could not be asked for its alerts", "source", id, "err", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// reconcile asks the sender of a source for its open alerts and stores what
// differs, as deliveries of our own. Of a list that is not whole nothing is
// used. What came of it is kept with the source, an error as well.
func (s *API) reconcile(ctx context.Context, src ops.Source) error {
	ask := s.askers()[src.Kind]
	if ask == nil || src.Options.Reconcile.URL == "" && src.Options.Reconcile.Target == "" {
		return ops.Errorf(ops.CodeInvalid, "set reconcile in the source's options: url for an Alertmanager, target for a Zabbix; other kinds cannot be asked")
	}
	if !src.Enabled {
		return ops.Errorf(ops.CodeConflict, "the source is disabled")
	}
	before, err := s.db.StartReconcile(ctx, src.ID, reconcileLease)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, reconcileWithin)
	defer cancel()
	result, err := s.settleDifferences(within, src, before, ask)
	switch {
	case err == nil:
	case ops.CodeOf(err) == ops.CodeInternal:
		result.Problem = "internal error: see the log of the api"
	default:
		result.Problem = ops.MessageOf(err)
	}
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	return errors.Join(err, s.db.EndReconcile(end, src.ID, result))
}

func (s *API) settleDifferences(ctx context.Context, src ops.Source, before postgres.Asking, ask asker) (postgres.Asked, error) {
	var done postgres.Asked
	secret, err := s.reconcileSecret(src, before.Secret)
	if err != nil {
		return done, err
	}
	l, err := ask(ctx, src, secret)
	if err != nil {
		return done, err
	}
	// Read behind the list: what is stored by now and not in the list came later.
	open, err := s.db.OpenAlerts(ctx, src.ID, maxOpen+1)
	if err != nil {
		return done, err
	}
	if len(open) > maxOpen || len(l.alerts) > maxOpen {
		return done, ops.Errorf(ops.CodeTooLarge, "there are more than %d open alerts: too many to compare", maxOpen)
	}
	patience := defaultPatience
	if every := src.Options.Reconcile.EverySeconds; every > 0 {
		patience = time.Duration(every) * time.Second
	}
	d := compare(l, open, before.Absent, patience)
	var identities, episodes []string
	for _, m := range d.missed {
		identities, episodes = append(identities, m.Identity), append(episodes, m.Episode)
	}
	known, err := s.db.KnownAlerts(ctx, src.ID, identities, episodes)
	if err != nil {
		return done, err
	}
	missed := d.renewed(known, l.at, patience)
	if done.Resolved, err = s.raise(src, reasonEnded, d.ended); err != nil {
		return done, err
	}
	if done.Missed, err = s.raise(src, reasonMissed, missed); err != nil {
		return done, err
	}
	if _, err = s.raise(src, reasonAcked, d.acked); err != nil {
		return done, err
	}
	done.Waiting, done.Absent = d.waiting, d.absent
	if done.Missed+done.Resolved > 0 {
		s.log.Warn("a sender's list differed from what its deliveries had told", "source", src.ID, "missed", done.Missed, "resolved", done.Resolved)
	}
	return done, nil
}

// raise stores alerts as deliveries of our own, and gives how many it could.
func (s *API) raise(src ops.Source, reason string, alerts []ops.Alert) (stored int, err error) {
	kind, _ := ingest.Lookup(src.Kind)
	for part := range slices.Chunk(alerts, perDelivery) {
		d := ops.OwnDelivery(src.ID, reason, part)
		d.Several = kind.Several
		kept, err := s.intake.store(d)
		if err == nil && kept.Problem != "" {
			err = errors.New(kept.Problem)
		}
		if err != nil {
			return stored, fmt.Errorf("store what was found: %w", err)
		}
		stored += len(part)
	}
	return stored, nil
}

func (s *API) reconcileSecret(src ops.Source, sealed []byte) (ops.Secret, error) {
	if sealed == nil {
		return ops.Secret{}, nil
	}
	ring, err := s.ring()
	if err != nil {
		return ops.Secret{}, err
	}
	secret, err := ring.Open(src.ReconcileCredential(sealed))
	if err != nil {
		s.log.Warn("the secret for asking a sender does not open", "source", src.ID, "err", err)
		return secret, ops.Errorf(ops.CodeInvalid, "the secret for the sender does not open: it was given for another address, or its key is gone. Set it again")
	}
	return secret, nil
}

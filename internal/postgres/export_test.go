package postgres

import (
	"context"
	"strings"

	"github.com/akmatori/akmatori/migrations"
)

// FillGroups is the statement of the migration that makes groups of the
// incidents that are there.
func FillGroups() string { return migrated("0003_grouping.sql", "INSERT INTO groups ") }

// PagerDutyIdentities is the statement of the migration that takes the service
// out of the identities of PagerDuty's alerts.
func PagerDutyIdentities() string { return migrated("0034_pagerduty_identity.sql", "WITH named AS ") }

func migrated(file, begin string) string {
	text, err := migrations.FS.ReadFile(file)
	if err != nil {
		panic(err)
	}
	_, rest, ok := strings.Cut(string(text), begin)
	if !ok {
		panic(file + " has no " + begin)
	}
	rest, _, _ = strings.Cut(rest, ";")
	return begin + rest
}

// AuditWaiting is how many callers wait for the transaction before theirs.
func (db *DB) AuditWaiting(chain string) int {
	w := db.audits.of(chain)
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting)
}

// AuditStatement is what SearchAudit asks for a filter.
func (db *DB) AuditStatement(ctx context.Context, f AuditFilter) (string, []any, error) {
	q := auditQuery{}
	err := db.auditWindow(ctx, &q, f)
	return q.text(50), q.args, err
}

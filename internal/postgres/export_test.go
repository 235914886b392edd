package postgres

import (
	"context"
	"strings"

	"github.com/akmatori/akmatori/migrations"
)

// FillGroups is the statement of the migration that makes groups of the
// incidents that are there.
func FillGroups() string {
	text, err := migrations.FS.ReadFile("0003_grouping.sql")
	if err != nil {
		panic(err)
	}
	_, statement, ok := strings.Cut(string(text), "INSERT INTO groups ")
	if !ok {
		panic("0003_grouping.sql fills no groups")
	}
	statement, _, _ = strings.Cut(statement, ";")
	return "INSERT INTO groups " + statement
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

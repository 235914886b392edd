package postgres

import (
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

// Package migrations holds the schema of the database, one goose file a step.
// Steps go forward only, and the code of the release before must survive them.
// The roles that the files grant to are made by postgres.Migrate.
package migrations

import "embed"

// FS holds the migration files.
//
//go:embed *.sql
var FS embed.FS

package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/akmatori/akmatori/migrations"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// The roles that processes connect as.
const (
	RoleAPI     = "akmatori_api"
	RoleGateway = "akmatori_gateway"
	RoleProxy   = "akmatori_proxy"
)

// Roles lists them.
var Roles = []string{RoleAPI, RoleGateway, RoleProxy}

// Migrate makes the roles, sets the passwords that are given (role to
// password) and brings the schema up to [Version]. owner must be allowed to
// create roles. Several at once are safe: a session lock lets one work.
func Migrate(ctx context.Context, owner ops.Secret, passwords map[string]ops.Secret) error {
	conf, err := pgx.ParseConfig(owner.Reveal())
	if err != nil {
		return errors.New("the owner's database URL is malformed")
	}
	sqldb := stdlib.OpenDB(*conf)
	defer func() { _ = sqldb.Close() }()
	if err := notNewer(ctx, sqldb); err != nil {
		return fmt.Errorf("migrate: %w", explain(mapError(err), conf))
	}
	if err := ensureRoles(ctx, sqldb, passwords); err != nil {
		return fmt.Errorf("migrate: roles: %w", mapError(err))
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, sqldb, migrations.FS, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", mapError(err))
	}
	return nil
}

// notNewer refuses a database that a newer release has migrated.
func notNewer(ctx context.Context, sqldb *sql.DB) error {
	var have int64
	err := sqldb.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&have)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42P01" { // undefined_table: there is no schema yet
		return nil
	}
	if err == nil && have > Version() {
		err = errTooOld(have)
	}
	return err
}

func ensureRoles(ctx context.Context, sqldb *sql.DB, passwords map[string]ops.Secret) error {
	for _, role := range Roles {
		// Roles belong to the cluster: two databases may be migrated at once.
		_, err := sqldb.ExecContext(ctx, `CREATE ROLE `+role+` LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT`)
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && (e.Code == "42710" || e.Code == "23505") { // it exists
			err = nil
		}
		if err != nil {
			return err
		}
	}
	for _, role := range slices.Sorted(maps.Keys(passwords)) {
		if !slices.Contains(Roles, role) {
			return fmt.Errorf("there is no role %q", role)
		}
		// ALTER ROLE takes no parameters; a quoted literal it is. The error
		// text of Postgres would quote the statement: it is not passed on.
		literal := "'" + strings.ReplaceAll(passwords[role].Reveal(), "'", "''") + "'"
		if strings.ContainsAny(literal, "\\\x00") {
			return fmt.Errorf("the password of %s has a character that is not allowed", role)
		}
		if err := setPassword(ctx, sqldb, role, literal); err != nil {
			return err
		}
	}
	return nil
}

func setPassword(ctx context.Context, sqldb *sql.DB, role, literal string) error {
	for try := 0; ; try++ {
		_, err := sqldb.ExecContext(ctx, `ALTER ROLE `+role+` PASSWORD `+literal)
		e, ok := errors.AsType[*pgconn.PgError](err)
		switch {
		case err == nil:
			return nil
		case ok && e.Code == "XX000" && try < 10: // "tuple concurrently updated"
		case ok:
			return fmt.Errorf("set the password of %s: SQLSTATE %s", role, e.Code)
		default:
			return fmt.Errorf("set the password of %s: the connection failed", role)
		}
	}
}

// lost says whether err is the end of a connection.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "conn closed")
}

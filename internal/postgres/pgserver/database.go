package pgserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/akmatori/akmatori/internal/ops"
	"github.com/jackc/pgx/v5"
)

// Copy makes a database as a copy of another one, to which nobody may be
// connected meanwhile. One of that name is replaced, whoever uses it.
func (s *Server) Copy(ctx context.Context, name, from string) error {
	return s.admin(ctx, `DROP DATABASE IF EXISTS `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`,
		`CREATE DATABASE `+pgx.Identifier{name}.Sanitize()+` TEMPLATE `+pgx.Identifier{from}.Sanitize())
}

// Drop removes a database, whoever uses it. That there is none is no error.
func (s *Server) Drop(ctx context.Context, name string) error {
	return s.admin(ctx, `DROP DATABASE IF EXISTS `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`)
}

func (s *Server) admin(ctx context.Context, statements ...string) (err error) {
	conn, err := pgx.Connect(ctx, s.URLFor(Superuser, ops.NewSecret(s.password), "postgres").Reveal())
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("pgserver: %w", err)
		}
	}
	return nil
}

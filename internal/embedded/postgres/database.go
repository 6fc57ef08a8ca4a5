package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/lib/pq"
)

// CreateDatabase makes an empty database whose name begins with the given one, cut to fit and made
// unique, and returns its name.
func (s *Server) CreateDatabase(ctx context.Context, name string) (string, error) {
	name = databaseName(name)
	if err := execute(ctx, s.DSN(""), "CREATE DATABASE "+pq.QuoteIdentifier(name)+" TEMPLATE template1"); err != nil {
		return "", fmt.Errorf("postgres: create database %s: %w", name, err)
	}
	return name, nil
}

// DropDatabase drops a database and breaks the connections to it.
func (s *Server) DropDatabase(ctx context.Context, name string) error {
	if err := execute(ctx, s.DSN(""), "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("postgres: drop database %s: %w", name, err)
	}
	return nil
}

// databaseName makes a readable, unique name of at most 63 bytes out of a test's.
func databaseName(name string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '_'
		}
	}, name)
	return clean[:min(len(clean), 40)] + "_" + strings.ToLower(rand.Text()[:12])
}

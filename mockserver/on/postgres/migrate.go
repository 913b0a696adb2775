package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Migrate applies SQL files to the database: the one at the path, or those that
// end in .sql of a directory, in the order of their names. Each is applied once,
// in a transaction; that it was is kept in the database by its name. The error
// says if a file is not what it was when it was applied.
func (s *Server) Migrate(ctx context.Context, path string) error {
	files := []string{path}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		files, err = filepath.Glob(filepath.Join(path, "*.sql")) // sorted
	}
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	for _, file := range files {
		sql, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("postgres: %w", err)
		}
		if err := s.migrateText(ctx, filepath.Base(file), string(sql)); err != nil {
			return fmt.Errorf("postgres: %s: %w", file, err)
		}
	}
	return nil
}

// MigrateText is Migrate of SQL that is not in a file, by a name.
func (s *Server) MigrateText(ctx context.Context, name, sql string) error {
	if err := s.migrateText(ctx, name, sql); err != nil {
		return fmt.Errorf("postgres: %s: %w", name, err)
	}
	return nil
}

func (s *Server) migrateText(ctx context.Context, name, sql string) error {
	sum := sha256.Sum256([]byte(sql))
	hash := hex.EncodeToString(sum[:])
	return pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `create table if not exists realtime.mockserver_files
			(name text primary key, sha256 text not null, at timestamptz not null default now())`)
		if err != nil {
			return err
		}
		var known string
		err = tx.QueryRow(ctx, "select sha256 from realtime.mockserver_files where name = $1", name).Scan(&known)
		switch {
		case err == nil && known == hash:
			return nil
		case err == nil:
			return errors.New("it was applied before and is not what it was then; put what is new into another file")
		case !errors.Is(err, pgx.ErrNoRows):
			return err
		}
		if _, err := tx.Exec(ctx, sql); err != nil {
			return located(err, sql)
		}
		_, err = tx.Exec(ctx, "insert into realtime.mockserver_files (name, sha256) values ($1, $2)", name, hash)
		return err
	})
}

// AddUser makes a user who may sign in, unless there is one with that email or
// phone, and returns the user's ID.
func (s *Server) AddUser(ctx context.Context, u mockserver.User) (id string, err error) {
	u.Email = strings.ToLower(u.Email)
	err = s.db.pool.QueryRow(ctx, "select id::text from auth.users where $1 <> '' and lower(email) = $1 or $2 <> '' and phone = $2", u.Email, u.Phone).Scan(&id)
	if !errors.Is(err, pgx.ErrNoRows) {
		return id, err
	}
	if u.ID == "" {
		u.ID = uuid.NewString()
	}
	if u.Role == "" {
		u.Role = "authenticated"
	}
	app, err := json.Marshal(metadata(u.Claims, "app_metadata"))
	if err != nil {
		return "", fmt.Errorf("postgres: user: %w", err)
	}
	own, err := json.Marshal(metadata(u.Claims, "user_metadata"))
	if err != nil {
		return "", fmt.Errorf("postgres: user: %w", err)
	}
	err = s.db.CreateUser(ctx, project.User{
		ID: u.ID, Email: u.Email, Phone: u.Phone, Role: u.Role, AppMetadata: app, UserMetadata: own,
	}, u.Password)
	if err != nil {
		return "", fmt.Errorf("postgres: user: %w", err)
	}
	return u.ID, nil
}

func metadata(claims mockserver.Claims, name string) any {
	if claims[name] == nil {
		return map[string]any{}
	}
	return claims[name]
}

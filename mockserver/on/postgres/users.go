package postgres

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// userColumns are read by scanUser.
const userColumns = `u.id::text, coalesce(u.email, ''), coalesce(u.phone, ''), coalesce(u.role, ''),
	u.raw_app_meta_data::text, u.raw_user_meta_data::text, u.created_at`

func userFields(u *project.User) []any {
	return []any{&u.ID, &u.Email, &u.Phone, &u.Role, &u.AppMetadata, &u.UserMetadata, &u.Created}
}

// passwordCost is the least that bcrypt has: a test server guards no secrets, and
// the cost of a project's hashes, 10, is a second for each sign-in with the race
// detector. Hashes of any cost are taken.
const passwordCost = bcrypt.MinCost

// CreateUser implements project.Users.
func (db *Database) CreateUser(ctx context.Context, u project.User, password string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), passwordCost)
	if err != nil {
		return err // it is too long
	}
	_, err = db.pool.Exec(ctx, `insert into auth.users (id, email, phone, role, encrypted_password, raw_app_meta_data, raw_user_meta_data)
		values ($1::text::uuid, nullif($2, ''), nullif($3, ''), $4, $5, $6::text::jsonb, $7::text::jsonb)`,
		u.ID, u.Email, u.Phone, u.Role, string(hash), string(u.AppMetadata), string(u.UserMetadata))
	err = asError(err)
	var pg *project.Error
	if errors.As(err, &pg) && pg.Code == "23505" {
		return project.ErrTaken
	}
	return err
}

// User implements project.Users.
func (db *Database) User(ctx context.Context, id string) (*project.User, error) {
	var u project.User
	// The ID is compared as text: it may be none.
	err := db.pool.QueryRow(ctx, "select "+userColumns+" from auth.users u where u.id::text = lower($1)", id).Scan(userFields(&u)...)
	return found(&u, err)
}

// found returns nil where there is no row.
func found(u *project.User, err error) (*project.User, error) {
	if err != nil {
		u = nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return u, asError(err)
}

// DeleteUser implements project.Users.
func (db *Database) DeleteUser(ctx context.Context, id string) (bool, error) {
	tag, err := db.pool.Exec(ctx, "delete from auth.users where id::text = lower($1)", id)
	return tag.RowsAffected() > 0, asError(err)
}

// nobody is the hash of no password. Comparing with it takes as long as with a
// user's, so that who has an account does not show.
var nobody = sync.OnceValue(func() []byte {
	hash, _ := bcrypt.GenerateFromPassword([]byte(rand.Text()), passwordCost) // it is not too long
	return hash
})

// SignIn implements project.Users.
func (db *Database) SignIn(ctx context.Context, email, phone, password string) (*project.User, project.Session, error) {
	var u project.User
	var hash *string
	err := db.pool.QueryRow(ctx, "select "+userColumns+`, u.encrypted_password from auth.users u
		where $1 <> '' and lower(u.email) = $1 or $2 <> '' and u.phone = $2 limit 1`, email, phone).Scan(append(userFields(&u), &hash)...)
	signed, err := found(&u, err)
	if err != nil {
		return nil, project.Session{}, err
	}
	want := nobody()
	if signed != nil && hash != nil {
		want = []byte(*hash)
	}
	if bcrypt.CompareHashAndPassword(want, []byte(password)) != nil || signed == nil {
		return nil, project.Session{}, nil
	}
	var s project.Session
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "update auth.users set last_sign_in_at = now() where id = $1::text::uuid", u.ID); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "insert into auth.sessions (user_id) values ($1::text::uuid) returning id::text", u.ID).Scan(&s.ID); err != nil {
			return err
		}
		s.RefreshToken, err = newRefreshToken(ctx, tx, s.ID)
		return err
	})
	return signed, s, asError(err)
}

// newRefreshToken makes a token, of which the database has the hash.
func newRefreshToken(ctx context.Context, tx pgx.Tx, session string) (string, error) {
	token := rand.Text()
	_, err := tx.Exec(ctx, "insert into auth.refresh_tokens (token, session_id) values ($1, $2::text::uuid)", hashed(token), session)
	return token, err
}

func hashed(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

// Refresh implements project.Users. A token is good once, whoever comes first.
func (db *Database) Refresh(ctx context.Context, token string) (_ *project.User, s project.Session, err error) {
	var u project.User
	var revoked bool
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, "select "+userColumns+`, s.id::text, t.revoked from auth.refresh_tokens t
			join auth.sessions s on s.id = t.session_id join auth.users u on u.id = s.user_id where t.token = $1 for update of t`,
			hashed(token)).Scan(append(userFields(&u), &s.ID, &revoked)...)
		switch {
		case err != nil:
			return err
		case revoked:
			return project.ErrTokenUsed
		}
		if _, err := tx.Exec(ctx, "update auth.refresh_tokens set revoked = true where token = $1", hashed(token)); err != nil {
			return err
		}
		s.RefreshToken, err = newRefreshToken(ctx, tx, s.ID)
		return err
	})
	signed, err := found(&u, err)
	return signed, s, err
}

// HasSession implements project.Users.
func (db *Database) HasSession(ctx context.Context, session string) (has bool, err error) {
	err = db.pool.QueryRow(ctx, "select exists (select from auth.sessions where id::text = $1)", session).Scan(&has)
	return has, asError(err)
}

// EndSessions implements project.Users.
func (db *Database) EndSessions(ctx context.Context, user, session, scope string) error {
	_, err := db.pool.Exec(ctx, `delete from auth.sessions where user_id::text = $1
		and case $3 when 'local' then id::text = $2 when 'others' then id::text <> $2 else true end`, user, session, scope)
	return asError(err)
}

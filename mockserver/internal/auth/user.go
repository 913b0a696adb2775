package auth

import (
	"fmt"

	"github.com/gapless-go/gapless/internal/secret"
)

// User is an account of the Auth API.
type User struct {
	ID       string // claim sub, a UUID; empty: made up by New
	Email    string // one of Email and Phone at least
	Phone    string
	Password string
	Role     string         // claim role; empty: authenticated
	Claims   map[string]any // further claims of the user's access tokens, such as app_metadata
}

// Format writes the user without the password, the same for every verb.
func (u User) Format(s fmt.State, _ rune) { secret.Format(s, u) }

// MarshalText returns what Format writes, for loggers.
func (u User) MarshalText() ([]byte, error) { return []byte(secret.Text(u)), nil }

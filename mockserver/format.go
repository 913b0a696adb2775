package mockserver

import (
	"fmt"

	"github.com/gapless-go/gapless/internal/secret"
)

// Format writes the configuration without what is secret, the same for every
// verb.
func (c Config) Format(s fmt.State, _ rune) { secret.Format(s, c) }

// MarshalText returns what Format writes, for loggers.
func (c Config) MarshalText() ([]byte, error) { return []byte(secret.Text(c)), nil }

// Format writes where the server is, the same for every verb.
func (s *Server) Format(to fmt.State, _ rune) { fmt.Fprintf(to, "mockserver.Server{%s}", s.URL()) }

// MarshalText returns what Format writes, for loggers.
func (s *Server) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", s), nil }

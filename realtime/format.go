package realtime

import (
	"fmt"

	"github.com/gapless-go/gapless/internal/secret"
)

// Format writes the options without what is secret, the same for every verb.
func (o Options) Format(s fmt.State, _ rune) { secret.Format(s, o) }

// MarshalText returns what Format writes, for loggers.
func (o Options) MarshalText() ([]byte, error) { return []byte(secret.Text(o)), nil }

// Format writes which project the client is of, the same for every verb.
func (c *Client) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "realtime.Client{%s}", c.endpoint) }

// MarshalText returns what Format writes, for loggers.
func (c *Client) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", c), nil }

package postgres

import (
	"fmt"

	"github.com/gapless-go/gapless/internal/secret"
)

// Format writes the options without what is secret, the same for every verb.
func (o Options) Format(s fmt.State, _ rune) { secret.Format(s, o) }

// MarshalText returns what Format writes, for loggers.
func (o Options) MarshalText() ([]byte, error) { return []byte(secret.Text(o)), nil }

// Format writes the options without the password, the same for every verb.
func (o ClusterOptions) Format(s fmt.State, _ rune) { secret.Format(s, o) }

// MarshalText returns what Format writes, for loggers.
func (o ClusterOptions) MarshalText() ([]byte, error) { return []byte(secret.Text(o)), nil }

// Format writes where the cluster's data is, the same for every verb.
func (c *Cluster) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "postgres.Cluster{%s}", c.dir) }

// MarshalText returns what Format writes, for loggers.
func (c *Cluster) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", c), nil }

// Format writes nothing of how the database is reached, the same for every verb.
func (*Database) Format(s fmt.State, _ rune) { fmt.Fprint(s, "postgres.Database{}") }

// MarshalText returns what Format writes, for loggers.
func (d *Database) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", d), nil }

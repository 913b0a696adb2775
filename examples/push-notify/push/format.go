package push

import (
	"fmt"
	"log/slog"

	"github.com/gapless-go/gapless/internal/secret"
)

// Format writes the project without its key, the same for every verb.
func (p Project) Format(s fmt.State, _ rune) { secret.Format(s, p) }

// MarshalText returns what Format writes, for loggers.
func (p Project) MarshalText() ([]byte, error) { return []byte(secret.Text(p)), nil }

// Format writes the options without what is secret, the same for every verb.
func (o Options) Format(s fmt.State, _ rune) { secret.Format(s, o) }

// MarshalText returns what Format writes, for loggers.
func (o Options) MarshalText() ([]byte, error) { return []byte(secret.Text(o)), nil }

// Format writes the sender without its key, the same for every verb.
func (s WebPush) Format(to fmt.State, _ rune) { secret.Format(to, s) }

// MarshalText returns what Format writes, for loggers.
func (s WebPush) MarshalText() ([]byte, error) { return []byte(secret.Text(s)), nil }

// Format writes the sender without its token, the same for every verb.
func (s Ntfy) Format(to fmt.State, _ rune) { secret.Format(to, s) }

// MarshalText returns what Format writes, for loggers.
func (s Ntfy) MarshalText() ([]byte, error) { return []byte(secret.Text(s)), nil }

// Format writes the device without its address, the same for every verb.
func (d Device) Format(s fmt.State, _ rune) { secret.Format(s, d, "Address") }

// LogValue returns what Format writes. As JSON, a device is a row of its table.
func (d Device) LogValue() slog.Value { return slog.StringValue(secret.Text(d, "Address")) }

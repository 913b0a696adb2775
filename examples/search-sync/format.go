package main

import (
	"fmt"

	"github.com/gapless-go/gapless/internal/secret"
)

// Format writes the project without key and password, the same for every verb.
func (p Project) Format(s fmt.State, _ rune) { secret.Format(s, p) }

// MarshalText returns what Format writes, for loggers.
func (p Project) MarshalText() ([]byte, error) { return []byte(secret.Text(p)), nil }

// Format writes the options without the key, the same for every verb.
func (o SinkOptions) Format(s fmt.State, _ rune) { secret.Format(s, o) }

// MarshalText returns what Format writes, for loggers.
func (o SinkOptions) MarshalText() ([]byte, error) { return []byte(secret.Text(o)), nil }

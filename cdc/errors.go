package cdc

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrGap is the error of As for a value that is a gap and no row change.
var ErrGap = errors.New("cdc: a gap, not a row change")

// ErrMissing is the error of Value and OldValue for a column that the row does
// not have.
var ErrMissing = errors.New("cdc: the row does not have the column")

// PayloadError is a payload that cannot be read as a change. A change was lost
// with it.
type PayloadError struct {
	Schema, Table string // as far as they could be read, or empty
	Err           error
}

func (e *PayloadError) Error() string {
	return "cdc: payload" + ofTable(" of ", e.Schema, e.Table) + ": " + clip(e.Err.Error(), maxCause)
}

func (e *PayloadError) Unwrap() error { return e.Err }

// DecodeError is a row or a value of a row that does not fit into the Go type
// that it was asked for in.
type DecodeError struct {
	Schema, Table string
	Column        string // empty if the row as a whole was refused
	Type          string // the column's PostgreSQL type, empty if unknown
	GoType        string
	Err           error
}

func (e *DecodeError) Error() string {
	s := "cdc:" + ofTable(" ", e.Schema, e.Table)
	if e.Column != "" {
		s += fmt.Sprintf(" column %q", clip(e.Column, maxName))
	}
	if e.Type != "" {
		s += " (" + clip(e.Type, maxName) + ")"
	}
	return s + " into " + e.GoType + ": " + clip(e.Err.Error(), maxCause)
}

func (e *DecodeError) Unwrap() error { return e.Err }

// IncompleteError is a change that does not carry its row, with all that is
// known of what it lacks. The row can be read from the table, by its key if
// that is there.
type IncompleteError struct {
	Schema, Table string
	Reason        Incomplete
	Missing       []string // the columns of Change.Missing
	Errors        []string // what the server said, Change.Errors
}

func (e *IncompleteError) Error() string {
	s := "cdc:" + ofTable(" ", e.Schema, e.Table) + ": incomplete change: " + e.Reason.String()
	if len(e.Missing) > 0 {
		s += fmt.Sprintf(" (%d columns missing)", len(e.Missing))
	}
	return s
}

// TypeError is a Go type that no row can be decoded into. It is a mistake in
// the program and does not depend on any change.
type TypeError struct {
	GoType string
	Reason string
}

func (e *TypeError) Error() string { return "cdc: type " + e.GoType + ": " + e.Reason }

// ColumnError is a column that cannot be filtered on as was asked for: by Realtime,
// because of its type ([Filter.For]), or by PostgREST ([Filter.Query]).
type ColumnError struct {
	Table, Column string
	Type          string // the column's PostgreSQL type, empty if unknown
	Reason        string
}

func (e *ColumnError) Error() string {
	s := "cdc:"
	if e.Table != "" {
		s += " table " + clip(e.Table, maxName)
	}
	s += fmt.Sprintf(" column %q", clip(e.Column, maxName))
	if e.Type != "" {
		s += " (" + clip(e.Type, maxName) + ")"
	}
	return s + ": " + e.Reason
}

// An error may quote the server, a row, or somebody else's error that does.
// These are the most bytes that are taken of each.
const (
	maxValue = 64
	maxName  = 64
	maxCause = 256
)

// clip cuts s to n bytes and marks the cut.
func clip[S ~string | ~[]byte](s S, n int) string {
	if len(s) <= n {
		return string(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return string(s[:n]) + "…"
}

func ofTable(before, schema, table string) string {
	if schema == "" && table == "" {
		return ""
	}
	return before + strings.TrimPrefix(clip(schema, maxName)+"."+clip(table, maxName), ".")
}

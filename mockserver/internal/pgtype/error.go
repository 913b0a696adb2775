package pgtype

import (
	"fmt"
	"strings"
)

// Error is what PostgreSQL would say to a statement that it refuses. The REST
// API answers with it as PostgREST does, and the methods of Server and Tx
// return it, so that errors.As tells a unique violation from a bad value.
type Error struct {
	Code    string // SQLSTATE, such as "23505"
	Message string // as PostgreSQL words it
	Detail  string // may be empty
	Hint    string // may be empty
	Table   string // schema and name, where the error is about one table
	Column  string // where the error is about one column
}

// Error returns the message behind the table and column that it is about, and
// the SQLSTATE.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("mockserver: ")
	if e.Table != "" {
		b.WriteString("table " + e.Table + ": ")
	}
	if e.Column != "" {
		b.WriteString("column " + e.Column + ": ")
	}
	b.WriteString(e.Message)
	if e.Detail != "" {
		b.WriteString(" (" + e.Detail + ")")
	}
	b.WriteString(" [" + e.Code + "]")
	return b.String()
}

// SQLSTATE codes that more than one file uses.
const (
	CodeBadText          = "22P02" // invalid_text_representation
	CodeOutOfRange       = "22003" // numeric_value_out_of_range
	CodeTooLong          = "22001" // string_data_right_truncation
	CodeBadTime          = "22007" // invalid_datetime_format
	CodeTimeRange        = "22008" // datetime_field_overflow
	CodeBadParameter     = "22023" // invalid_parameter_value
	CodeNotNull          = "23502"
	CodeUnique           = "23505"
	CodeConflict         = "40001" // serialization_failure
	CodeCardinality      = "21000" // cardinality_violation
	CodeNoRight          = "42501" // insufficient_privilege
	CodeUndefinedColumn  = "42703"
	CodeUndefinedTable   = "42P01"
	CodeUndefinedOp      = "42883"
	CodeDatatypeMismatch = "42804"
	CodeNotReady         = "55000" // object_not_in_prerequisite_state
)

// Errorf makes an Error of a SQLSTATE and a message.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// At fills in the table and column that an error of a value is about, and
// leaves the original as it is: it may be shared.
func (e *Error) At(table, column string) *Error {
	located := *e
	located.Table, located.Column = table, column
	return &located
}

// Raise is an exception that a trigger raises.
func Raise(format string, args ...any) *Error { return Errorf("P0001", format, args...) }

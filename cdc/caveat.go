package cdc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Caveat is a reason not to take the values of a column as they come.
type Caveat uint8

const (
	// Intact: the values are what the table has, but for the notes in "What
	// Realtime garbles" that no program has to act on.
	Intact Caveat = iota
	// Truncated: of a char(n) or bit(n), and of each element of an array of them,
	// Realtime sends the first character or bit alone, and a space for an empty
	// bpchar. Many keys come as one, so that such a column tells no rows apart.
	Truncated
	// NullOrNaN: of a float or numeric that is NaN or infinite, Realtime sends
	// null. In a column that is NOT NULL, null is one of these for certain.
	// Elements of an array come as the strings NaN, Infinity and -Infinity. Of a key
	// column, null says of no row which one it is.
	NullOrNaN
	// NullOrJSONNull: a json or jsonb that is SQL NULL, and one that is the JSON
	// value null, are both sent as null, and so are elements of arrays of them. The
	// REST API sends null for both, too, so that reading the row does not tell. In a
	// column that is NOT NULL, null is the JSON value for certain.
	NullOrJSONNull
)

// String returns the caveat in words.
func (c Caveat) String() string {
	switch c {
	case Intact:
		return "intact"
	case Truncated:
		return "truncated by the server"
	case NullOrNaN:
		return "null may be NaN or infinite"
	case NullOrJSONNull:
		return "null may be the JSON value null"
	}
	return fmt.Sprintf("Caveat(%d)", uint8(c))
}

// Caveat returns what Realtime does to the values of a column of this type. For
// a type that PostgreSQL does not bring (a domain, enum or composite) it is
// Intact, whatever the type is made of: the server keeps such values, but for
// JSON null in a domain over json or jsonb. The values of a change that came by
// Broadcast are intact in any column.
func (c Column) Caveat() Caveat {
	element, isArray := strings.CutPrefix(c.Type, "_")
	switch element {
	case "bpchar", "bit":
		return Truncated
	case "json", "jsonb":
		return NullOrJSONNull
	case "float4", "float8", "numeric":
		if !isArray {
			return NullOrNaN
		}
	}
	return Intact
}

// Doubtful reports whether the table may have another value than the one that a
// change has of the column, value being its JSON: whether the REST API may
// answer with something that is not the same value. It is false for JSON null,
// which the REST API sends as null, too. See [Column.Caveat] for what a null
// means in a column that is NOT NULL.
func (c Column) Doubtful(value json.RawMessage) bool {
	switch c.Caveat() {
	case Truncated:
		return bytes.IndexByte(value, '"') >= 0 // neither null, nor an array without elements but null
	case NullOrNaN:
		return string(value) == "null"
	}
	return false
}

// SQLColumn returns a column as a change describes it, from its type as SQL and
// the REST API's description spell it: "character(3)", "bigint[]", "public.mood".
// A description may have the type that a domain stands for in place of the
// domain.
func SQLColumn(name, sqlType string) Column {
	typ := strings.TrimRight(sqlType, "[]")
	isArray := typ != sqlType
	if !strings.Contains(typ, `"`) {
		typ = modifiers.ReplaceAllString(typ, "")
	}
	if known, ok := sqlTypes[typ]; ok {
		typ = known
	} else if strings.HasPrefix(typ, "interval ") { // its fields
		typ = "interval"
	} else {
		typ = unquoteName(typ[lastDot(typ)+1:])
	}
	if isArray {
		typ = "_" + typ
	}
	return Column{Name: name, Type: typ}
}

// modifiers are a length or a precision.
var modifiers = regexp.MustCompile(`\([^()]*\)`)

// sqlTypes are the types whose name in SQL is another than in pg_type.
var sqlTypes = map[string]string{
	"boolean": "bool", "smallint": "int2", "integer": "int4", "bigint": "int8", "real": "float4", "double precision": "float8",
	"character": "bpchar", "char": "bpchar", "character varying": "varchar", "bit varying": "varbit",
	"time without time zone": "time", "time with time zone": "timetz",
	"timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
}

// lastDot returns where the dot behind a schema is, or -1. There may be dots in
// quotes.
func lastDot(s string) int {
	quoted, at := false, -1
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '.' && !quoted:
			at = i
		}
	}
	return at
}

func unquoteName(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	return strings.ReplaceAll(s[1:len(s)-1], `""`, `"`)
}

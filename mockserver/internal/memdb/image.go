package memdb

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// newChange casts a change to the server's form. Its error is one of the poll.
func newChange(c walChange) (_ *wire.Change, err error) {
	t := c.table
	ch := &wire.Change{Table: t.sent, Op: c.op, Commit: c.commit, RLS: t.rls.Load(), Record: make(wire.Image, len(t.columns)), Old: make(wire.Image, len(t.columns))}
	for i, column := range t.columns {
		if c.op != "INSERT" && t.identifies(i) {
			if ch.Old[i], err = wireJSON(column.Type, c.old[i]); err != nil {
				return nil, err
			}
		}
		if c.op != "DELETE" && (c.unchangedToast == nil || !c.unchangedToast[i]) {
			if ch.Record[i], err = wireJSON(column.Type, c.new[i]); err != nil {
				return nil, err
			}
		}
	}
	_, ch.TooLarge = ch.Size()
	return ch, nil
}

// asSent returns what is sent of the table with its changes.
func (t *table) asSent() *wire.Table {
	columns := make([]wire.Column, len(t.columns))
	for i, c := range t.columns {
		columns[i] = wire.Column{Name: c.Name, Type: c.Type.Name(), SQLType: c.Type.SQLName, Key: slices.Contains(t.pk, i)}
	}
	return wire.NewTable(t.schema, t.name, columns)
}

// identifies reports whether the column is in the replica identity.
func (t *table) identifies(column int) bool {
	switch t.identity {
	case IdentityFull:
		return true
	case IdentityIndex:
		return slices.Contains(t.identityColumns, column)
	case IdentityNothing:
		return false
	}
	return slices.Contains(t.pk, column)
}

// wireJSON writes a value as it comes out of the socket: PostgreSQL's text of
// it, cast to the bare type and made jsonb. On the way char(n) and bit(n), and
// elements of arrays of them, are cut to one character, NaN and infinite numbers
// become null, and bytea loses its \x. What is of a domain stays. The error is one
// of the poll: json that jsonb cannot hold.
func wireJSON(t pgtype.Type, v any) ([]byte, error) {
	if v == nil {
		return []byte("null"), nil
	}
	switch t.Name() {
	case "int2", "int4", "int8":
		return []byte(t.Text(v)), nil
	case "text", "varchar":
		return pgtype.AppendString(nil, t.Text(v)), nil
	case "numeric", "float4", "float8":
		return wireNumber(t.Text(v))
	case "bytea":
		return pgtype.AppendString(nil, strings.TrimPrefix(t.Text(v), `\x`)), nil
	}
	if isCut(t) {
		return pgtype.AppendString(nil, cutToBare(t, t.Text(v))), nil
	}
	if t.Item != nil && t.DomainOf == nil && isCut(*t.Item) {
		v = cutElements(*t.Item, v.(pgtype.Array))
	}
	return jsonbText(t.JSON(v))
}

// hasJSON reports whether values of the type are or have a json, of which the poll
// may fail.
func hasJSON(t pgtype.Type) bool {
	return t.IsPlainJSON() || t.Item != nil && hasJSON(*t.Item) || slices.ContainsFunc(t.Fields, func(f pgtype.Field) bool { return hasJSON(f.Type) })
}

// isCut reports whether a cast to the type without its length cuts values
// short: char and bit without a length mean a length of one.
func isCut(t pgtype.Type) bool { return t.Name() == "bpchar" || t.Name() == "bit" }

// cutToBare casts text to the type without its length, which pads an empty one.
func cutToBare(t pgtype.Type, text string) string {
	if !isCut(t) {
		return text
	}
	if text == "" && t.Name() == "bpchar" {
		return " "
	}
	_, size := utf8.DecodeRuneInString(text)
	return text[:size]
}

// cutElements is cutToBare of each element of an array.
func cutElements(item pgtype.Type, a pgtype.Array) pgtype.Array {
	cut := make(pgtype.Array, len(a))
	for i, v := range a {
		switch v := v.(type) {
		case pgtype.Array:
			cut[i] = cutElements(item, v)
		case string:
			cut[i] = cutToBare(item, v)
		}
	}
	return cut
}

// wireNumber writes a number without an exponent, as jsonb does.
func wireNumber(s string) ([]byte, error) {
	switch s {
	case "NaN", "Infinity", "-Infinity":
		return []byte("null"), nil
	}
	return jsonbText([]byte(s))
}

// jsonbText writes JSON as jsonb does: with its order of keys and its spaces,
// and numbers exact and without exponents.
func jsonbText(raw []byte) ([]byte, error) {
	v, err := pgtype.ParseJSON(string(raw))
	if err != nil {
		return nil, &errPoll{err}
	}
	return pgtype.AppendJSONB(nil, v), nil
}

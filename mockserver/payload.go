package mockserver

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// maxRecord is how many bytes a change may have in the form in which the
// server reads it from the log. Of a larger one it sends small fields only.
const maxRecord = 1 << 20

// maxSmallField is how long the JSON of a field of such a change may be.
const maxSmallField = 64

// image is a row as the server has it: the JSON of each column, nil where the
// column is not there.
type image [][]byte

// change is a walChange in the server's form.
type change struct {
	walChange
	record   image // the new row; empty of a DELETE
	old      image // what the replica identity tells of the old row
	order    []int // the columns, in the order of the keys of a JSON object
	tooLarge bool
}

// newChange casts a change to the server's form. Its error is one of the poll.
func newChange(c walChange) (_ *change, err error) {
	t := c.table
	ch := &change{walChange: c, record: make(image, len(t.columns)), old: make(image, len(t.columns)), order: t.jsonbOrder()}
	for i, column := range t.columns {
		if c.op != "INSERT" && t.identifies(i) {
			if ch.old[i], err = wireJSON(column.Type, c.old[i]); err != nil {
				return nil, err
			}
		}
		if c.op != "DELETE" && (c.unchangedToast == nil || !c.unchangedToast[i]) {
			if ch.record[i], err = wireJSON(column.Type, c.new[i]); err != nil {
				return nil, err
			}
		}
	}
	ch.tooLarge = ch.size() > maxRecord
	return ch, nil
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

// jsonbOrder returns the columns in the order in which jsonb has keys: shorter
// names first, then by their bytes.
func (t *table) jsonbOrder() []int {
	order := make([]int, len(t.columns))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := t.columns[a].Name, t.columns[b].Name
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	})
	return order
}

// size estimates the length of what wal2json writes of the change.
func (c *change) size() int {
	n := 150
	for i, column := range c.table.columns {
		for _, value := range [][]byte{c.record[i], c.old[i]} {
			if value != nil {
				n += len(`{"name": "", "type": "", "value": , "typeoid": 00000}, `) + len(column.Name) + len(column.Type.SQLName) + len(value)
			}
		}
	}
	return n
}

// view is how much of a change one group of subscriptions gets: that of a role
// that selects some columns.
type view struct {
	*change
	may      []bool // which columns the role may read
	selected []bool // which columns the group wants
	errors   string // JSON
}

// data writes the value of "data" of a postgres_changes message. Its keys are
// in alphabetical order and those of rows in jsonb's, with jsonb's spaces, as
// the real server sends them.
func (v view) data() []byte {
	b := append([]byte(`{"columns":`), v.columns()...)
	b = append(b, `,"commit_timestamp":"`...)
	b = v.commit.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","errors":`...)
	b = append(b, v.errors...)
	if v.op != "INSERT" {
		b = append(append(b, `,"old_record":`...), v.oldRecord()...)
	}
	if v.op != "DELETE" {
		b = append(append(b, `,"record":`...), v.newRecord()...)
	}
	return v.appendTable(b)
}

// refused writes the data of a change of which the role gets nothing but an
// error.
func (v view) refused() []byte {
	b := append([]byte(`{"columns":[],"commit_timestamp":null,"errors":`), v.errors...)
	if v.op == "UPDATE" {
		b = append(b, `,"old_record":{}`...)
	}
	return v.appendTable(append(b, `,"record":{}`...))
}

func (v view) appendTable(b []byte) []byte {
	b = pgtype.AppendString(append(b, `,"schema":`...), v.table.schema)
	b = pgtype.AppendString(append(b, `,"table":`...), v.table.name)
	return append(append(append(b, `,"type":"`...), v.op...), `"}`...)
}

func (v view) columns() []byte {
	b := []byte{'['}
	for i, column := range v.table.columns {
		if !v.shows(i) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ", "...)
		}
		b = pgtype.AppendString(append(b, `{"name": `...), column.Name)
		b = pgtype.AppendString(append(b, `, "type": `...), column.Type.Name())
		b = append(b, '}')
	}
	return append(b, ']')
}

func (v view) shows(column int) bool { return v.may[column] && v.selected[column] }

// newRecord writes the new row. What the log does not have of it since it did
// not change is taken from the old row, where that is known.
func (v view) newRecord() []byte {
	return v.object(func(i int) []byte {
		if v.record[i] == nil {
			return v.small(v.old[i])
		}
		return v.small(v.record[i])
	})
}

// oldRecord writes the old row. Of a DELETE under row level security nobody
// can say who might have seen it, so everybody gets its primary key and no
// more.
func (v view) oldRecord() []byte {
	return v.object(func(i int) []byte {
		if v.op == "DELETE" && v.table.rls.Load() && !slices.Contains(v.table.pk, i) {
			return nil
		}
		return v.small(v.old[i])
	})
}

// small drops what a change that is too large leaves out: long fields, and
// those that are null.
func (v view) small(value []byte) []byte {
	if v.tooLarge && (len(value) > maxSmallField || string(value) == "null") {
		return nil
	}
	return value
}

func (v view) object(field func(column int) []byte) []byte {
	b := []byte{'{'}
	for _, i := range v.order {
		value := field(i)
		if value == nil || !v.shows(i) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ", "...)
		}
		b = pgtype.AppendString(b, v.table.columns[i].Name)
		b = append(append(b, ": "...), value...)
	}
	return append(b, '}')
}

// appendPayload writes the payload of a message for a channel: the ids of the
// bindings that match, and the data.
func appendPayload(data []byte, ids []int) []byte {
	b := append(append([]byte(`{"data":`), data...), `,"ids":[`...)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return append(b, "]}"...)
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

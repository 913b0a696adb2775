package cdc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-go/gapless/internal/rowjson"
)

// Decode decodes the payload of a postgres_changes message. ids names the
// bindings that the change is for, as the server numbered them in its reply to
// the join: in no particular order, and one twice if the join had two equal
// bindings.
//
// The change keeps nothing of payload: the caller may use the buffer again. ids
// is read only: changes for the same bindings share it.
// Keys that Decode does not know are ignored; of a key that comes twice, the
// last counts. The error is a *PayloadError.
//
// Decode takes time linear in the length of payload and allocates at most 16
// bytes for each byte of it (a row of one-letter keys). Values may be nested
// 9,990 deep. Of a row the change keeps its text and, in 12 bytes each, where its
// values are, so that As does not look for them again; not if that is more than the
// text.
//
// Decode is safe for concurrent use. Changes of the same columns share one
// slice of them.
func Decode(payload []byte) (c Change, ids []int64, err error) {
	var m message
	m.errData = errNoObject
	var rawIDs []byte
	text := rowjson.Cursor{Text: payload}
	at := -1
	for in := text.Enter('{'); in && text.More('}'); {
		switch at = text.KeyOf(payloadKeys, at); at {
		case 0:
			m.split = split{}
			m.read(&text, changeKeys)
		case 1:
			rawIDs = text.Value()
		default:
			text.Value()
		}
	}
	err = text.End()
	if err == nil && m.errData != nil {
		err = fmt.Errorf("data: %w", m.errData)
	}
	if err == nil {
		if c, err = m.change(); err == nil {
			err = m.addColumns(&c)
		}
	}
	if err == nil {
		ids, err = m.set.idsOf(&c, rawIDs)
	}
	if err != nil {
		return Change{}, nil, &PayloadError{Schema: c.Schema, Table: c.Table, Err: err}
	}
	return c, ids, nil
}

// DecodeBroadcast decodes what the database function
// realtime.broadcast_changes sends from a trigger: the payload inside of the
// broadcast message, {"operation", "schema", "table", "record", "old_record"}.
//
// Such a change has no Columns and no Committed. Its values are to_jsonb of
// the writer's session, which differs from what Decode gets: char(n) and
// bit(n) are whole, bytea begins with \x, NaN and Infinity are strings, and
// every value of the row is there, so that nothing is ever Missing.
//
// The change keeps nothing of payload. The error is a *PayloadError. The cost is
// that of Decode. DecodeBroadcast is safe for concurrent use.
func DecodeBroadcast(payload []byte) (Change, error) {
	var m message
	text := rowjson.Cursor{Text: payload}
	m.read(&text, broadcastKeys)
	err := text.End()
	if err == nil {
		err = m.errData
	}
	var c Change
	if err == nil {
		c, err = m.change()
	}
	if err != nil {
		return Change{}, &PayloadError{Schema: c.Schema, Table: c.Table, Err: err}
	}
	return c, nil
}

var errNoObject = errors.New("not an object")

// The keys in the order in which they are sent, see rowjson.Cursor.KeyOf. The key
// of the operation differs by source.
var (
	payloadKeys   = []string{`"data":`, `"ids":`}
	changeKeys    = []string{`"columns":`, `"commit_timestamp":`, `"errors":`, `"old_record":`, `"record":`, `"schema":`, `"table":`, `"type":`}
	broadcastKeys = slices.Concat(changeKeys[:keyOp], []string{`"operation":`})
)

const (
	keyColumns = iota
	keyCommitted
	keyErrors
	keyOldRecord
	keyRecord
	keySchema
	keyTable
	keyOp
	keys
)

// message is the object that holds a change, split.
type message struct {
	split
	room [64]rowjson.Cell // for the members of both rows, if they are no more
}

type split struct {
	parts      [keys][]byte // all but columns and rows; nil: absent
	texts      [2][]byte    // of newRow and oldRow
	members    [2][2]int    // of the rows: where in list
	used       int          // of the room
	more       []rowjson.Cell
	set        *columnSet // of the columns
	errColumns error
	errData    error
}

// list returns the members of the rows so far. It is not a field: the message
// would then be on the heap.
func (m *message) list() []rowjson.Cell {
	if m.more != nil {
		return m.more
	}
	return m.room[:m.used]
}

// read splits the object that comes next.
func (m *message) read(text *rowjson.Cursor, list []string) {
	if !text.Enter('{') {
		m.errData = errNoObject
		return
	}
	for at := -1; text.More('}'); {
		switch at = text.KeyOf(list, at); at {
		case keyColumns:
			m.readColumns(text)
		case keyRecord:
			m.readRow(newRow, text)
		case keyOldRecord:
			m.readRow(oldRow, text)
		case -1:
			text.Value()
		default:
			m.parts[at] = text.Value()
		}
	}
}

// readColumns takes a list of columns, by comparing if it is known.
func (m *message) readColumns(text *rowjson.Cursor) {
	text.Next()
	m.errColumns = nil
	m.forgetMembers() // they are of the columns that came before
	if m.set = knownColumns(text.Text[text.Pos:]); m.set != nil {
		text.Pos += len(m.set.raw)
		return
	}
	if columns := text.Value(); text.Err() == nil {
		m.set, m.errColumns = columnsOf(columns)
	}
}

// forgetMembers has the members of the rows looked for when they are needed.
func (m *message) forgetMembers() { m.members, m.used, m.more = [2][2]int{}, 0, nil }

// readRow takes a row, and its members if the columns came before. Of one that
// comes again they are not kept: there is no bound to how often it does.
func (m *message) readRow(which int, c *rowjson.Cursor) {
	if m.set == nil || m.texts[which] != nil {
		m.forgetMembers()
		m.texts[which] = c.Value()
		return
	}
	before := m.list()
	text, list := c.Row(m.set.names, before)
	m.texts[which], m.members[which] = text, [2]int{len(before), len(list)}
	if m.used = len(list); m.used > len(m.room) {
		m.more = append([]rowjson.Cell(nil), list...)
	}
}

// change returns all but what depends on the columns. Schema and Table are set
// even if there is an error.
func (m *message) change() (c Change, err error) {
	var errs [5]error
	c.Schema, errs[0] = m.name("schema", m.parts[keySchema])
	c.Table, errs[1] = m.name("table", m.parts[keyTable])
	c.Op, errs[2] = parseOp(m.parts[keyOp])
	c.Committed, errs[3] = parseCommitted(m.parts[keyCommitted])
	c.Errors = parseErrors(m.parts[keyErrors])
	for _, err := range errs {
		if err != nil {
			return c, err
		}
	}
	return c, m.setRecords(&c)
}

// setRecords copies the rows that an operation has: what a Delete says of a
// new row and an Insert of an old one is null or empty, and no row.
func (m *message) setRecords(c *Change) error {
	var rows [2]rowjson.Row
	for i, key := range [2]string{"record", "old_record"} {
		switch text := m.texts[i]; {
		case text == nil || string(text) == "null":
		case text[0] != '{':
			return fmt.Errorf("%s is not an object", key)
		case m.set == nil:
			rows[i] = rowjson.Row{Text: text}
		default:
			rows[i] = rowjson.NewRow(m.set.names, text, m.list()[m.members[i][0]:m.members[i][1]])
		}
	}
	switch c.Op {
	case Insert:
		rows[oldRow] = rowjson.Row{}
	case Delete:
		rows[newRow] = rowjson.Row{}
	}
	if rows[newRow].Text == nil && c.Op != Delete {
		return fmt.Errorf("%v without a record", c.Op)
	}
	if rows[oldRow].Text == nil && c.Op == Delete {
		return errors.New("DELETE without an old_record")
	}
	var texts [2][]byte
	c.places, texts = rowjson.Keep(rows)
	c.Record, c.OldRecord = texts[newRow], texts[oldRow]
	return nil
}

// addColumns sets the fields that only a postgres_changes message has.
func (m *message) addColumns(c *Change) error {
	switch {
	case m.errColumns != nil:
		return m.errColumns
	case m.set == nil:
		return errNoColumns
	}
	c.Columns = m.set.columns
	if c.Op != Delete {
		members := m.list()[m.members[newRow][0]:m.members[newRow][1]]
		if len(members) == 0 { // the columns may have come after it
			text := rowjson.Cursor{Text: c.Record}
			_, members = text.Row(m.set.names, nil)
		}
		c.Missing = m.set.names.Missing(members)
	}
	return nil
}

// name returns a name, which is mostly that of the last change of the columns.
func (m *message) name(key string, raw []byte) (string, error) {
	if m.set != nil {
		if last := m.set.last.Load(); last != nil {
			for _, name := range last.names {
				if len(raw) == len(name)+2 && string(raw[1:len(raw)-1]) == name && raw[0] == '"' && !strings.Contains(name, `\`) {
					return name, nil
				}
			}
		}
	}
	return parseName(key, raw)
}

func parseName(key string, raw []byte) (string, error) {
	name, ok := rowjson.Unquote(raw)
	if !ok {
		return "", fmt.Errorf("%s is not a string", key)
	}
	if name == "" {
		return "", fmt.Errorf("%s is empty", key)
	}
	return name, nil
}

func parseOp(raw []byte) (Op, error) {
	switch string(raw) {
	case `"INSERT"`:
		return Insert, nil
	case `"UPDATE"`:
		return Update, nil
	case `"DELETE"`:
		return Delete, nil
	case "":
		return 0, errors.New("no type of change")
	}
	return 0, fmt.Errorf("type of change %s is none of INSERT, UPDATE and DELETE", rowjson.Clip(raw))
}

// parseCommitted reads the commit time. The server has none for changes that
// it refuses to show.
func parseCommitted(raw []byte) (time.Time, error) {
	if raw == nil || string(raw) == "null" {
		return time.Time{}, nil
	}
	if raw[0] != '"' {
		return time.Time{}, errors.New("commit_timestamp is not a string")
	}
	t, ok := rowjson.TimeOf(raw)
	if !ok || t.Equal(Infinity) || t.Equal(NegInfinity) {
		return time.Time{}, fmt.Errorf("commit_timestamp %s is not a time", rowjson.Clip(raw))
	}
	return t, nil
}

// parseErrors reads what should be null or a list of strings. Whatever else it
// is, it says that something is wrong with the change, and is kept as it is.
func parseErrors(raw []byte) (list []string) {
	if raw == nil || string(raw) == "null" {
		return nil
	}
	text := rowjson.Cursor{Text: raw}
	if !text.Enter('[') {
		return []string{errorText(raw)}
	}
	for text.More(']') {
		list = append(list, errorText(text.Value()))
	}
	return list
}

func errorText(raw []byte) string {
	if text, ok := rowjson.Unquote(raw); ok {
		return text
	}
	return string(raw)
}

func parseIDs(raw []byte) ([]int64, error) {
	text := rowjson.Cursor{Text: raw}
	if !text.Enter('[') {
		return nil, errors.New("ids is not a list")
	}
	ids := make([]int64, 0, 1)
	for text.More(']') {
		value := text.Value()
		id, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("id %s is not an integer", rowjson.Clip(value))
		}
		ids = append(ids, id)
	}
	return ids, nil
}

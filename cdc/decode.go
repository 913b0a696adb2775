package cdc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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
// Decode takes time linear in the length of payload and allocates at most 12
// bytes for each byte of it (a list of one-digit ids). Values may be nested
// 9,990 deep.
//
// Decode is safe for concurrent use. Changes of the same columns share one
// slice of them.
func Decode(payload []byte) (c Change, ids []int64, err error) {
	m := message{errData: errNoObject}
	var rawIDs []byte
	text := rowjson.Cursor{Text: payload}
	for in := text.Enter('{'); in && text.More('}'); {
		switch string(text.Key()) {
		case "ids":
			rawIDs = text.Value()
		case "data":
			m = message{}
			m.read(&text, "type")
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
	m.read(&text, "operation")
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

// message is the object that holds a change, split. Absent keys are nil.
type message struct {
	op, schema, table, committed, columns, record, oldRecord, errors []byte

	set        *columnSet // of columns
	errColumns error
	missing    []string // of the columns, in record
	compared   []byte   // the record that missing was found in
	errData    error
}

// read splits the object that comes next. The key of the operation differs by
// source.
func (m *message) read(text *rowjson.Cursor, opKey string) {
	if !text.Enter('{') {
		m.errData = errNoObject
		return
	}
	for text.More('}') {
		switch string(text.Key()) {
		case opKey:
			m.op = text.Value()
		case "schema":
			m.schema = text.Value()
		case "table":
			m.table = text.Value()
		case "commit_timestamp":
			m.committed = text.Value()
		case "columns":
			m.readColumns(text)
		case "record":
			m.readRecord(text)
		case "old_record":
			m.oldRecord = text.Value()
		case "errors":
			m.errors = text.Value()
		default:
			text.Value()
		}
	}
}

// readColumns takes a list of columns, by comparing if it is known.
func (m *message) readColumns(text *rowjson.Cursor) {
	if m.set = knownColumns(text.Text[text.Pos:]); m.set != nil {
		m.columns = text.Text[text.Pos : text.Pos+len(m.set.raw)]
		text.Pos += len(m.set.raw)
		return
	}
	if m.columns = text.Value(); text.Err() == nil {
		m.set, m.errColumns = columnsOf(m.columns)
	}
}

// readRecord takes a record, and finds out which columns it has if they came
// before.
func (m *message) readRecord(text *rowjson.Cursor) {
	if m.set == nil {
		m.record = text.Value()
		return
	}
	m.record, m.missing = text.Row(m.set.names)
	m.compared = m.record
}

// change returns all but what depends on the columns. Schema and Table are set
// even if there is an error.
func (m *message) change() (c Change, err error) {
	var errs [5]error
	c.Schema, errs[0] = m.name("schema", m.schema)
	c.Table, errs[1] = m.name("table", m.table)
	c.Op, errs[2] = parseOp(m.op)
	c.Committed, errs[3] = parseCommitted(m.committed)
	c.Errors = parseErrors(m.errors)
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
	record, err := parseRecord("record", m.record)
	if err != nil {
		return err
	}
	old, err := parseRecord("old_record", m.oldRecord)
	if err != nil {
		return err
	}
	switch c.Op {
	case Insert:
		old = nil
	case Delete:
		record = nil
	}
	if record == nil && c.Op != Delete {
		return fmt.Errorf("%v without a record", c.Op)
	}
	if old == nil && c.Op == Delete {
		return errors.New("DELETE without an old_record")
	}
	both := make([]byte, 0, len(record)+len(old)) // one copy for the two
	if record != nil {
		both = append(both, record...)
		c.Record = both[:len(record):len(record)]
	}
	if old != nil {
		c.OldRecord = append(both, old...)[len(record):]
	}
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
	switch {
	case c.Op == Delete:
	case m.compared != nil:
		c.Missing = m.missing
	default: // the columns came after the record
		text := rowjson.Cursor{Text: c.Record}
		_, c.Missing = text.Row(m.set.names)
	}
	return nil
}

// name returns a name, which is mostly that of the last change of the columns.
func (m *message) name(key string, raw []byte) (string, error) {
	if m.set != nil {
		if last := m.set.last.Load(); last != nil {
			for _, name := range last.names {
				if len(raw) == len(name)+2 && string(raw[1:len(raw)-1]) == name && raw[0] == '"' {
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

// parseRecord returns nil for a record that is absent or null.
func parseRecord(key string, raw []byte) (json.RawMessage, error) {
	switch {
	case raw == nil || string(raw) == "null":
		return nil, nil
	case raw[0] != '{':
		return nil, fmt.Errorf("%s is not an object", key)
	}
	return raw, nil
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

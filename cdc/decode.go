package cdc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
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
// Decode is safe for concurrent use. Changes of the same columns share one
// slice of them.
func Decode(payload []byte) (c Change, ids []int64, err error) {
	if ids, ok := decodeQuickly(&c, payload); ok {
		return c, ids, nil
	}
	return decodeCarefully(payload)
}

// decodeCarefully decodes whatever can be decoded, and says of the rest what is
// wrong with it.
func decodeCarefully(payload []byte) (c Change, ids []int64, err error) {
	if err := checkJSON(payload); err != nil {
		return Change{}, nil, &PayloadError{Err: err}
	}
	var rawIDs, data []byte
	w := walkObject(payload)
	for w.next() {
		switch string(w.key) {
		case "ids":
			rawIDs = w.val
		case "data":
			data = w.val
		}
	}
	m, err := readMessage(data, "type")
	if err != nil {
		return Change{}, nil, &PayloadError{Err: fmt.Errorf("data: %w", err)}
	}
	if c, err = m.change(); err == nil {
		err = m.addColumns(&c)
	}
	if err == nil {
		ids, err = parseIDs(rawIDs)
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
// The change keeps nothing of payload. The error is a *PayloadError.
// DecodeBroadcast is safe for concurrent use.
func DecodeBroadcast(payload []byte) (Change, error) {
	if err := checkJSON(payload); err != nil {
		return Change{}, &PayloadError{Err: err}
	}
	m, err := readMessage(payload, "operation")
	if err != nil {
		return Change{}, &PayloadError{Err: err}
	}
	c, err := m.change()
	if err != nil {
		return Change{}, &PayloadError{Schema: c.Schema, Table: c.Table, Err: err}
	}
	return c, nil
}

// message is the object that holds a change, split but not yet looked into.
// Absent keys are nil.
type message struct {
	op, schema, table, committed, columns, record, oldRecord, errors []byte
}

// readMessage splits the object. The key of the operation differs by source.
func readMessage(object []byte, opKey string) (m message, err error) {
	w := walkObject(object)
	for w.next() {
		switch string(w.key) {
		case opKey:
			m.op = w.val
		case "schema":
			m.schema = w.val
		case "table":
			m.table = w.val
		case "commit_timestamp":
			m.committed = w.val
		case "columns":
			m.columns = w.val
		case "record":
			m.record = w.val
		case "old_record":
			m.oldRecord = w.val
		case "errors":
			m.errors = w.val
		}
	}
	if w.err != nil { // of JSON, the walker refuses nothing else
		return m, errors.New("not an object")
	}
	return m, nil
}

// change returns all but what depends on the columns. Schema and Table are set
// even if there is an error.
func (m *message) change() (c Change, err error) {
	var errs [5]error
	c.Schema, errs[0] = parseName("schema", m.schema)
	c.Table, errs[1] = parseName("table", m.table)
	c.Op, errs[2] = parseOp(m.op)
	c.Committed, errs[3] = parseCommitted(m.committed)
	c.Errors, errs[4] = parseErrors(m.errors)
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
	set, err := columnsOf(m.columns)
	if err != nil {
		return err
	}
	c.Columns = set.columns
	if c.Op != Delete {
		c.Missing = missingFrom(set.columns, set.index, c.Record)
	}
	return nil
}

func parseName(key string, raw []byte) (string, error) {
	name, err := unquote(raw)
	if err != nil {
		return "", fmt.Errorf("%s is not a string", key)
	}
	if len(name) == 0 {
		return "", fmt.Errorf("%s is empty", key)
	}
	return string(name), nil
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
	return 0, fmt.Errorf("type of change %s is none of INSERT, UPDATE and DELETE", clip(raw, maxValue))
}

// parseCommitted reads the commit time. The server has none for changes that
// it refuses to show.
func parseCommitted(raw []byte) (time.Time, error) {
	if raw == nil || isNull(raw) {
		return time.Time{}, nil
	}
	text, err := unquote(raw)
	if err != nil {
		return time.Time{}, errors.New("commit_timestamp is not a string")
	}
	t, err := parseTime(text)
	if err != nil || t.Equal(Infinity) || t.Equal(NegInfinity) {
		return time.Time{}, fmt.Errorf("commit_timestamp %q is not a time", clip(text, maxValue))
	}
	return t, nil
}

// parseErrors reads what should be null or a list of strings. Whatever else it
// is, it says that something is wrong with the change, and is kept as it is.
func parseErrors(raw []byte) ([]string, error) {
	switch {
	case raw == nil || isNull(raw):
		return nil, nil
	case raw[0] != '[':
		return []string{errorText(raw)}, nil
	}
	var list []string
	w := walkArray(raw)
	for w.next() {
		list = append(list, errorText(w.val))
	}
	return list, w.err
}

func errorText(raw []byte) string {
	if text, err := unquote(raw); err == nil {
		return string(text)
	}
	return string(raw)
}

// parseRecord returns nil for a record that is absent or null.
func parseRecord(key string, raw []byte) (json.RawMessage, error) {
	switch {
	case raw == nil || isNull(raw):
		return nil, nil
	case raw[0] != '{':
		return nil, fmt.Errorf("%s is not an object", key)
	}
	return raw, nil
}

func parseIDs(raw []byte) ([]int64, error) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, errors.New("ids is not a list")
	}
	ids := make([]int64, 0, bytes.Count(raw, []byte(","))+1)
	w := walkArray(raw)
	for w.next() {
		id, err := strconv.ParseInt(string(w.val), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("id %s is not an integer", clip(w.val, maxValue))
		}
		ids = append(ids, id)
	}
	return ids, w.err
}

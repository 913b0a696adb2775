// Package wire writes row changes as the Realtime server sends them, once for every
// database: who gets which form of a change, with which error, and what a filter is.
package wire

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

const (
	// maxRecord is how many bytes a change may have in the form in which the real
	// server reads it from the log. Of a larger one it sends small fields only.
	maxRecord = 1 << 20
	// maxSmallField is how long the JSON of a field of such a change may be.
	maxSmallField = 64
)

// Table is what is sent of a table with its changes.
type Table struct {
	schema, name string
	columns      []Column
	order        []int // the columns in the order of jsonb's keys
	hasKey       bool
}

// Column is a column of a Table.
type Column struct {
	Name    string
	Type    string // pg_type.typname, of a domain its own
	SQLType string // as wal2json spells it
	Key     bool   // it is in the primary key
}

// NewTable makes a table.
func NewTable(schema, name string, columns []Column) *Table {
	t := &Table{schema: schema, name: name, columns: columns}
	for i, c := range columns {
		t.order = append(t.order, i)
		t.hasKey = t.hasKey || c.Key
	}
	slices.SortFunc(t.order, func(a, b int) int {
		x, y := columns[a].Name, columns[b].Name
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	})
	return t
}

// Image is a row as the server has it: the JSON of each column, nil where the
// column is not there.
type Image [][]byte

// Change is a row change in the server's form.
type Change struct {
	Table    *Table
	Op       string // INSERT, UPDATE, DELETE
	Commit   time.Time
	RLS      bool  // the table has row level security
	Record   Image // the new row; empty of a DELETE
	Old      Image // what the replica identity tells of the old row
	TooLarge bool
}

// Size estimates the length of what wal2json writes of the change, and reports
// whether it is too large.
func (c *Change) Size() (n int, tooLarge bool) {
	n = 150
	for i, column := range c.Table.columns {
		for _, value := range [][]byte{c.Record[i], c.Old[i]} {
			if value != nil {
				n += len(`{"name": "", "type": "", "value": , "typeoid": 00000}, `) + len(column.Name) + len(column.SQLType) + len(value)
			}
		}
	}
	return n, n > maxRecord
}

// Value returns what a filter of a column is asked about; nil: the column is not
// there.
func (c *Change) Value(column int) []byte {
	if c.Op == "DELETE" {
		return c.Old[column]
	}
	return c.Record[column]
}

// Roles groups those who want a change by their roles, filters and policies aside.
func (c *Change) Roles(subs []*project.Subscription) map[string][]*project.Subscription {
	roles := map[string][]*project.Subscription{}
	for _, s := range subs {
		if (s.Event == "*" || s.Event == c.Op) && !c.Commit.Before(s.From) {
			roles[s.Caller.Role] = append(roles[s.Caller.Role], s)
		}
	}
	return roles
}

// Refused returns the error that a role which may read these columns gets in the
// place of the change; empty: it gets the change. Filters and policies are not asked
// about those that are refused.
func (c *Change) Refused(may []bool) string {
	switch {
	case c.Op == "DELETE":
		return ""
	case !c.Table.hasKey:
		return `["Error 400: Bad Request, no primary key"]`
	}
	for i, column := range c.Table.columns {
		if column.Key && !may[i] {
			return `["Error 401: Unauthorized"]`
		}
	}
	return ""
}

// Deliveries writes the change in the forms that there are subscribers for: those
// of one role that select the same columns share one. May returns which columns a
// role may read.
func (c *Change) Deliveries(roles map[string][]*project.Subscription, may func(role string) []bool) (all []project.Delivery) {
	for _, role := range slices.Sorted(maps.Keys(roles)) {
		v := view{Change: c, may: may(role), errors: "null"}
		form := view.data
		if refused := c.Refused(v.may); refused != "" {
			form, v.errors = view.refusal, refused
		} else if c.TooLarge {
			v.errors = `["Error 413: Payload Too Large"]`
		}
		for _, group := range groupBySelect(roles[role]) {
			v.columns = group[0].Columns
			all = append(all, project.Delivery{Data: form(v), Subs: group})
		}
	}
	return all
}

// groupBySelect groups subscriptions by the columns that they select, in the
// server's order of groups: those that select all come first.
func groupBySelect(subs []*project.Subscription) [][]*project.Subscription {
	groups := map[string][]*project.Subscription{}
	for _, s := range subs {
		key := strings.Join(s.Columns, "\x00")
		groups[key] = append(groups[key], s)
	}
	sorted := slices.Collect(maps.Values(groups))
	slices.SortFunc(sorted, func(a, b []*project.Subscription) int { return slices.Compare(a[0].Columns, b[0].Columns) })
	return sorted
}

// view is how much of a change one group of subscriptions gets: that of a role
// that selects some columns.
type view struct {
	*Change
	may     []bool   // which columns the role may read
	columns []string // which columns the group wants; nil: all
	errors  string   // JSON
}

// data writes the value of "data" of a postgres_changes message. Its keys are
// in alphabetical order and those of rows in jsonb's, with jsonb's spaces, as
// the real server sends them.
func (v view) data() []byte {
	b := append([]byte(`{"columns":`), v.described()...)
	b = append(b, `,"commit_timestamp":"`...)
	b = v.Commit.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","errors":`...)
	b = append(b, v.errors...)
	if v.Op != "INSERT" {
		b = append(append(b, `,"old_record":`...), v.object(v.before)...)
	}
	if v.Op != "DELETE" {
		b = append(append(b, `,"record":`...), v.object(v.after)...)
	}
	return v.appendTable(b)
}

// refusal writes the data of a change of which the role gets nothing but an
// error.
func (v view) refusal() []byte {
	b := append([]byte(`{"columns":[],"commit_timestamp":null,"errors":`), v.errors...)
	if v.Op == "UPDATE" {
		b = append(b, `,"old_record":{}`...)
	}
	return v.appendTable(append(b, `,"record":{}`...))
}

func (v view) appendTable(b []byte) []byte {
	b = pgtype.AppendString(append(b, `,"schema":`...), v.Table.schema)
	b = pgtype.AppendString(append(b, `,"table":`...), v.Table.name)
	return append(append(append(b, `,"type":"`...), v.Op...), `"}`...)
}

func (v view) described() []byte {
	b := []byte{'['}
	for i, c := range v.Table.columns {
		if !v.shows(i) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ", "...)
		}
		b = pgtype.AppendString(append(b, `{"name": `...), c.Name)
		b = pgtype.AppendString(append(b, `, "type": `...), c.Type)
		b = append(b, '}')
	}
	return append(b, ']')
}

// shows reports whether the group gets a column. That of the primary key is
// selected always.
func (v view) shows(column int) bool {
	c := &v.Table.columns[column]
	return v.may[column] && (v.columns == nil || c.Key || slices.Contains(v.columns, c.Name))
}

// after returns a field of the new row. What the log does not have of it since
// it did not change is taken from the old row, where that is known.
func (v view) after(column int) []byte {
	if v.Record[column] == nil {
		return v.small(v.Old[column])
	}
	return v.small(v.Record[column])
}

// before returns a field of the old row. Of a DELETE under row level security
// nobody can say who might have seen it, so everybody gets its primary key and
// no more.
func (v view) before(column int) []byte {
	if v.Op == "DELETE" && v.RLS && !v.Table.columns[column].Key {
		return nil
	}
	return v.small(v.Old[column])
}

// small drops what a change that is too large leaves out: long fields, and
// those that are null.
func (v view) small(value []byte) []byte {
	if v.TooLarge && (len(value) > maxSmallField || string(value) == "null") {
		return nil
	}
	return value
}

func (v view) object(field func(column int) []byte) []byte {
	b := []byte{'{'}
	for _, i := range v.Table.order {
		value := field(i)
		if value == nil || !v.shows(i) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ", "...)
		}
		b = pgtype.AppendString(b, v.Table.columns[i].Name)
		b = append(append(b, ": "...), value...)
	}
	return append(b, '}')
}

// AppendPayload writes the payload of a message for a channel: the ids of the
// bindings that match, and the data.
func AppendPayload(data []byte, ids []int) []byte {
	b := append(append([]byte(`{"data":`), data...), `,"ids":[`...)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return append(b, "]}"...)
}

// Text returns what jsonb's #>> '{}' makes of a value: a string's content, and the
// text of everything else.
func Text(value []byte) string {
	if len(value) == 0 || value[0] != '"' {
		return string(value)
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return string(value)
	}
	return s
}

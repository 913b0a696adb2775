package postgres

import (
	"maps"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// maxSmallField is how long the JSON of a field of a change that is too large
// may be.
const maxSmallField = 64

// view is how much of a change one group of subscriptions gets: that of a role
// that selects some columns.
type view struct {
	*rowChange
	may     []bool   // which columns the role may read
	columns []string // which columns the group wants; nil: all
	errors  string   // JSON
}

// deliveries writes the change in the forms that there are subscribers for:
// those of one role that select the same columns share one.
func (m *matching) deliveries() (all []project.Delivery) {
	for _, role := range slices.Sorted(maps.Keys(m.roles)) {
		v := view{rowChange: &m.rowChange, may: m.table.may[role], errors: "null"}
		form := view.data
		if refused := m.refused(role); refused != "" {
			form, v.errors = view.refusal, refused
		} else if m.tooLarge {
			v.errors = `["Error 413: Payload Too Large"]`
		}
		for _, group := range groupBySelect(m.roles[role]) {
			v.columns = group[0].Columns
			all = append(all, project.Delivery{Data: form(v), Subs: group})
		}
	}
	return all
}

// groupBySelect groups subscriptions by the columns that they select, in the
// real server's order: those that select all come first.
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

// data writes the value of "data" of a postgres_changes message. Its keys are
// in alphabetical order and those of rows in jsonb's, with jsonb's spaces, as
// the real server sends them.
func (v view) data() []byte {
	b := append([]byte(`{"columns":`), v.described()...)
	b = append(b, `,"commit_timestamp":"`...)
	b = v.commit.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","errors":`...)
	b = append(b, v.errors...)
	if v.op != "INSERT" {
		b = append(append(b, `,"old_record":`...), v.object(v.before)...)
	}
	if v.op != "DELETE" {
		b = append(append(b, `,"record":`...), v.object(v.after)...)
	}
	return v.appendTable(b)
}

// refusal writes the data of a change of which the role gets nothing but an
// error.
func (v view) refusal() []byte {
	b := append([]byte(`{"columns":[],"commit_timestamp":null,"errors":`), v.errors...)
	if v.op == "UPDATE" {
		b = append(b, `,"old_record":{}`...)
	}
	return v.appendTable(append(b, `,"record":{}`...))
}

func (v view) appendTable(b []byte) []byte {
	b = appendString(append(b, `,"schema":`...), v.table.schema)
	b = appendString(append(b, `,"table":`...), v.table.name)
	return append(append(append(b, `,"type":"`...), v.op...), `"}`...)
}

func (v view) described() []byte {
	b := []byte{'['}
	for i := range v.table.columns {
		if !v.shows(i) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ", "...)
		}
		b = appendString(append(b, `{"name": `...), v.table.columns[i].name)
		b = appendString(append(b, `, "type": `...), v.table.columns[i].typname)
		b = append(b, '}')
	}
	return append(b, ']')
}

// shows reports whether the group gets a column. That of the primary key is
// selected always.
func (v view) shows(column int) bool {
	c := &v.table.columns[column]
	return v.may[column] && (v.columns == nil || c.keyPart > 0 || slices.Contains(v.columns, c.name))
}

// after returns a field of the new row. What the log does not have of it since
// it did not change is taken from the old row, where that is known.
func (v view) after(column int) []byte {
	if v.record[column] == nil {
		return v.small(v.oldRecord[column])
	}
	return v.small(v.record[column])
}

// before returns a field of the old row. Of a DELETE under row level security
// nobody can say who might have seen it, so everybody gets its primary key and
// no more.
func (v view) before(column int) []byte {
	if v.op == "DELETE" && v.table.rls && v.table.columns[column].keyPart == 0 {
		return nil
	}
	return v.small(v.oldRecord[column])
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
	for _, i := range v.table.order {
		value := field(i)
		if value == nil || !v.shows(i) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ", "...)
		}
		b = appendString(b, v.table.columns[i].name)
		b = append(append(b, ": "...), value...)
	}
	return append(b, '}')
}

package channel

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// Binding is one request for changes: which events of which tables.
type Binding struct {
	// Op is the kind of change; 0 is every kind.
	Op cdc.Op
	// Schema is the schema's name, or "*" for every schema. With a Table and no
	// Schema it is "public".
	Schema string
	// Table is the table's name; empty is every table of the schema. Of a
	// partitioned table the changes come under the names of its partitions.
	Table string
	// Filter narrows the rows; it needs a Table. The server tests the new row
	// of an insert or update and what the replica identity gives of the old row
	// of a delete: a row that leaves the filter is not reported, nor is a
	// delete whose filtered column is not in the replica identity. The types of
	// the columns are not known here, so that a filter may stop the changes of
	// everybody: see "Filters poison" in the doc of [cdc.Filter]. Text that reads
	// like an array, a composite or a bytea is refused unless it is a cdc.Literal.
	Filter cdc.Filter
	// Columns narrows the columns; it needs a Table. The columns of the primary
	// key always come. Empty is every column that the role may read.
	Columns []string
}

// everything is how the server spells "all events" and "all schemas".
const everything = "*"

func (b Binding) schema() string {
	if b.Schema == "" {
		return "public"
	}
	return b.Schema
}

func (b Binding) name() string {
	table := b.Table
	if table == "" {
		table = everything
	}
	return b.schema() + "." + table
}

// check reports what the server would not understand, or would take for
// something else: it ignores fields that it cannot read.
func (b Binding) check() error {
	var err error
	switch {
	case b.Op > cdc.Delete:
		err = fmt.Errorf("unknown operation %d", b.Op)
	case b.Schema == "" && b.Table == "":
		err = errors.New("needs a schema or a table")
	case b.Table == everything:
		err = errors.New("leave the table empty for every table")
	case b.Table == "" && b.Filter.String() != "":
		err = errors.New("a filter needs a table")
	case len(b.Columns) > 0 && (b.Table == "" || b.Schema == everything):
		err = errors.New("a selection of columns needs a schema and a table")
	case slices.Contains(b.Columns, ""):
		err = errors.New("empty column name")
	case slices.ContainsFunc(append([]string{b.Schema, b.Table}, b.Columns...), func(name string) bool { return !utf8.ValidString(name) }):
		err = phoenix.ErrNotUTF8
	default:
		_, err = b.Filter.For(b.Table, nil) // the types of the columns are not known
	}
	if err != nil {
		return &BindingError{Binding: b, Err: err}
	}
	return nil
}

// wireBinding is a binding in the join and in the server's reply, where it has
// an id. Absent members are left out: the server refuses null.
type wireBinding struct {
	ID     *int64   `json:"id,omitempty"`
	Event  string   `json:"event"`
	Schema string   `json:"schema"`
	Table  string   `json:"table,omitempty"`
	Filter string   `json:"filter,omitempty"`
	Select []string `json:"select,omitempty"`
}

func (b Binding) wire() wireBinding {
	event := everything
	if b.Op != 0 {
		event = b.Op.String()
	}
	return wireBinding{Event: event, Schema: b.schema(), Table: b.Table, Filter: b.Filter.String(), Select: b.Columns}
}

// matches reports whether a change that the server sent for b is one that b
// asked for. The server matches names of schemas and tables with LIKE, so that
// "order_x" also brings "orderax", and the ids of two bindings may collide.
func (b Binding) matches(c *cdc.Change) bool {
	return (b.Op == 0 || b.Op == c.Op) &&
		(b.Schema == everything || b.schema() == c.Schema) &&
		(b.Table == "" || b.Table == c.Table)
}

// echoedIDs checks the bindings in the reply to a join against those sent, in
// order, and returns their ids. The ids are opaque: equal bindings have equal
// ones, and two different bindings may, too.
func echoedIDs(sent []Binding, got []wireBinding) ([]int64, error) {
	if len(got) != len(sent) {
		return nil, fmt.Errorf("%d bindings where %d were sent", len(got), len(sent))
	}
	ids := make([]int64, len(sent))
	for i, got := range got {
		want := sent[i].wire()
		if got.ID == nil {
			return nil, fmt.Errorf("binding %d (%s) has no id", i, sent[i].name())
		}
		ids[i] = *got.ID
		if got.Event != want.Event || got.Schema != want.Schema || got.Table != want.Table ||
			got.Filter != want.Filter || !slices.Equal(got.Select, want.Select) {
			return nil, fmt.Errorf("binding %d is not %s as sent", i, sent[i].name())
		}
	}
	return ids, nil
}

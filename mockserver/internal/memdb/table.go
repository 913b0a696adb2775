package memdb

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// Row is the content of a row, or of some of its columns.
type Row = project.Row

// Policy decides whether a row may be read or written under the claims of a
// token. It is called without any lock held and from several goroutines at
// once, and must not change the claims. The row is a copy, with values as
// Server.Rows gives them. Mind that nil, which is a missing claim and NULL
// alike, equals itself in Go and not in SQL.
type Policy func(claims project.Claims, row Row) bool

// ReplicaIdentity says what of the old row an UPDATE or DELETE writes to the
// log, and so what Realtime can tell of it.
type ReplicaIdentity uint8

const (
	IdentityDefault ReplicaIdentity = iota // the primary key
	IdentityFull                           // the whole row
	IdentityIndex                          // Table.IdentityColumns
	IdentityNothing                        // nothing; a published table then refuses UPDATE and DELETE
)

// String returns the words of ALTER TABLE … REPLICA IDENTITY.
func (i ReplicaIdentity) String() string {
	switch i {
	case IdentityDefault:
		return "DEFAULT"
	case IdentityFull:
		return "FULL"
	case IdentityIndex:
		return "USING INDEX"
	case IdentityNothing:
		return "NOTHING"
	}
	return fmt.Sprintf("ReplicaIdentity(%d)", uint8(i))
}

// Table is a table and its first content.
type Table struct {
	Schema  string // empty: public
	Name    string
	Columns []pgtype.Column

	// PrimaryKey names columns, which are then NOT NULL and together unique. It
	// may be empty: the rows then have no order but that of insertion, and
	// Realtime sends their changes as errors.
	PrimaryKey []string

	ReplicaIdentity ReplicaIdentity
	IdentityColumns []string // of IdentityIndex: NOT NULL columns

	// Unpublished keeps the table out of the publication supabase_realtime: its
	// changes do not come out of the socket.
	Unpublished bool

	// RLS switches row level security on: the role service_role sees and writes
	// everything, every other role what the policies allow. A policy that is nil
	// allows nothing. Update is asked of the old row (USING) and of the new one
	// (WITH CHECK). Server's own methods are not subject to it.
	RLS                            bool
	Select, Insert, Update, Delete Policy

	// Grants maps a role to the columns that it may SELECT, ["*"] being all of
	// them. A role with "*" may also write. If Grants is not nil, roles that it
	// does not name have no right, but for service_role and postgres, which
	// keep all rights unless named. Nil: every role has every right.
	Grants map[string][]string

	// BeforeInsert and BeforeUpdate are row triggers: the row that they return
	// is written in the place of fresh, whose columns are those of the table,
	// with defaults filled in and values as Server.Rows gives them. Policies are
	// asked of the row that is written. An error, *Error or other, fails the
	// statement. tx acts as whoever makes the statement, which for Server's own
	// methods is the role postgres without claims. Nil: there is no trigger.
	BeforeInsert func(tx *FuncTx, fresh Row) (Row, error)
	BeforeUpdate func(tx *FuncTx, old, fresh Row) (Row, error)
	// AfterChange is called when a row has been written, with INSERT, UPDATE or
	// DELETE, and the rows after and before it, nil where there is none. In all
	// else it is as the triggers above.
	AfterChange func(tx *FuncTx, operation string, after, before Row) error

	// Rows are there from the start, as if committed long ago: they never come
	// out of the socket, and no trigger is called for them.
	Rows []Row
}

// tableColumn is a Column that has been checked.
type tableColumn struct {
	pgtype.Field
	notNull bool
	def     func() any
	toast   bool

	sequence *atomic.Int64 // the last number given, of a serial type
}

// next returns the value of an INSERT that gives none.
func (c tableColumn) next() any {
	switch {
	case c.def != nil:
		return c.def()
	case c.sequence != nil:
		return c.sequence.Add(1)
	}
	return nil
}

// row holds a datum for each column of its table, in order; nil is NULL. It is
// never changed once it is in a rowSet.
type row []any

// table is a table of the database. What is atomic, and rows, may change.
type table struct {
	schema, name    string
	columns         []tableColumn
	byName          map[string]int
	pk              []int
	identity        ReplicaIdentity
	identityColumns []int // of IdentityIndex

	rls                                atomic.Bool
	policies                           atomic.Pointer[Policies]
	hidden                             atomic.Pointer[map[int]any] // the values of rows that HideRows hides
	selects, inserts, updates, deletes Policy                      // ask policies and hidden
	grants                             map[string][]bool           // by column; nil: everybody may

	beforeInsert func(tx *FuncTx, fresh Row) (Row, error)
	beforeUpdate func(tx *FuncTx, old, fresh Row) (Row, error)
	afterChange  func(tx *FuncTx, operation string, after, before Row) error

	published atomic.Bool
	index     int // in database.tables
	sent      *wire.Table
	hasJSON   bool // a value of it may be one that jsonb does not take

	rows *rowSet // under database.mu
}

// fullName returns the schema and the name.
func (t *table) fullName() string { return t.schema + "." + t.name }

// column returns the index of the column of that name.
func (t *table) column(name string) (int, error) {
	i, ok := t.byName[name]
	if !ok {
		e := pgtype.Errorf(pgtype.CodeUndefinedColumn, "column %q of relation %q does not exist", name, t.name)
		return 0, e.At(t.fullName(), name)
	}
	return i, nil
}

// newTable checks a Table. Its errors name the table and the column.
func newTable(spec Table) (*table, error) {
	t := &table{
		schema: spec.Schema, name: spec.Name, identity: spec.ReplicaIdentity,
		beforeInsert: spec.BeforeInsert, beforeUpdate: spec.BeforeUpdate, afterChange: spec.AfterChange,
	}
	if t.schema == "" {
		t.schema = "public"
	}
	if t.name == "" {
		return nil, errors.New("mockserver: a table has no name")
	}
	t.published.Store(!spec.Unpublished)
	t.rls.Store(spec.RLS)
	t.setPolicies(Policies{spec.Select, spec.Insert, spec.Update, spec.Delete})
	if err := t.init(spec); err != nil {
		return nil, fmt.Errorf("mockserver: table %s: %w", t.fullName(), err)
	}
	return t, nil
}

func (t *table) init(spec Table) (err error) {
	if t.columns, err = newColumns(spec.Columns); err != nil {
		return err
	}
	t.byName = make(map[string]int, len(t.columns))
	for i, c := range t.columns {
		t.byName[c.Name] = i
	}
	if t.pk, err = t.columnSet("primary key", spec.PrimaryKey); err != nil {
		return err
	}
	for _, i := range t.pk {
		t.columns[i].notNull = true
		if c := t.columns[i]; !c.Type.Comparable() {
			return fmt.Errorf("column %s: type %s has no order, so it cannot be in a primary key", c.Name, c.Type.Name())
		}
	}
	if err := t.initIdentity(spec); err != nil {
		return err
	}
	if !spec.RLS && (spec.Select != nil || spec.Insert != nil || spec.Update != nil || spec.Delete != nil) {
		return errors.New("it has policies, but RLS is off, so they would never be asked")
	}
	t.sent = t.asSent()
	t.hasJSON = slices.ContainsFunc(t.columns, func(c tableColumn) bool { return hasJSON(c.Type) })
	return t.initGrants(spec.Grants)
}

func newColumns(specs []pgtype.Column) ([]tableColumn, error) {
	fields, err := pgtype.NewFields(specs)
	columns := make([]tableColumn, len(fields))
	for i, f := range fields {
		columns[i] = tableColumn{Field: f, notNull: specs[i].NotNull, def: specs[i].Default, toast: specs[i].Toast}
		if pgtype.IsSerial(specs[i].Type) {
			columns[i].notNull, columns[i].sequence = true, new(atomic.Int64)
		}
	}
	return columns, err
}

// columnSet resolves the names of distinct columns.
func (t *table) columnSet(what string, names []string) ([]int, error) {
	var set []int
	for _, name := range names {
		i, ok := t.byName[name]
		if !ok {
			return nil, fmt.Errorf("column %s: it is in the %s but not in the table", name, what)
		}
		if slices.Contains(set, i) {
			return nil, fmt.Errorf("column %s: it is in the %s twice", name, what)
		}
		set = append(set, i)
	}
	return set, nil
}

func (t *table) initIdentity(spec Table) (err error) {
	if t.identity > IdentityNothing {
		return fmt.Errorf("%v is no replica identity", t.identity)
	}
	if (t.identity == IdentityIndex) != (len(spec.IdentityColumns) > 0) {
		return errors.New("IdentityColumns go with IdentityIndex, and with nothing else")
	}
	t.identityColumns, err = t.columnSet("replica identity", spec.IdentityColumns)
	for _, i := range t.identityColumns {
		if !t.columns[i].notNull {
			return fmt.Errorf("column %s: it is in the replica identity and must be NOT NULL", t.columns[i].Name)
		}
	}
	return err
}

func (t *table) initGrants(grants map[string][]string) error {
	if grants == nil {
		return nil
	}
	t.grants = map[string][]bool{}
	for role, names := range grants {
		if !isRole(role) {
			return fmt.Errorf("grant to role %q, which does not exist", role)
		}
		may := make([]bool, len(t.columns))
		for _, name := range names {
			i, ok := t.byName[name]
			switch {
			case name == "*":
				for i := range may {
					may[i] = true
				}
			case ok:
				may[i] = true
			default:
				return fmt.Errorf("column %s: granted to %s but not in the table", name, role)
			}
		}
		t.grants[role] = may
	}
	return nil
}

package memdb

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// The database in memory implements project.Database.
var _ project.Database = (*Database)(nil)

// Subscribe implements project.Database.
func (db *Database) Subscribe(_ context.Context, who project.Caller, b project.Binding) (subs []*project.Subscription, err error) {
	schema, name := namePattern(b.Schema), namePattern(b.Table)
	for _, t := range db.tables {
		if !t.published.Load() || !schema.Matches(t.schema) || !name.Matches(t.name) {
			continue
		}
		filters, err := db.checkBinding(t, who.Role, b)
		if err != nil {
			return nil, err
		}
		subs = append(subs, &project.Subscription{
			Table: uint32(t.index), Event: b.Event, Caller: who, Columns: slices.Sorted(slices.Values(b.Columns)), State: filters,
		})
	}
	return subs, nil
}

// namePattern is what a name in a binding means: a LIKE pattern without an
// escape character, so that _ in a name is a wildcard, too; and * alone is all.
func namePattern(name string) pgtype.Pattern {
	if name == "*" {
		name = "%"
	}
	return pgtype.NewPattern(name, pgtype.NoEscape)
}

// checkBinding does what the trigger on the server's table of subscriptions does.
// The error is an *Error.
func (db *Database) checkBinding(t *table, role string, b project.Binding) (filters []predicate, err error) {
	if !isRole(role) {
		return nil, pgtype.Errorf("42704", "role %q does not exist", role)
	}
	selectable := func(column int) bool { return db.canSelect(role, t, column) }
	for _, f := range b.Filters {
		checked, err := newPredicate(t, f, selectable)
		if err != nil {
			return nil, asRaised(err)
		}
		filters = append(filters, checked)
	}
	for _, column := range b.Columns {
		if i, ok := t.byName[column]; !ok || !selectable(i) {
			return nil, pgtype.Raise("invalid column for select %s", column)
		}
	}
	return filters, nil
}

// asRaised returns err as PostgreSQL's, which it is but for our own mistakes.
func asRaised(err error) *pgtype.Error {
	var e *pgtype.Error
	if errors.As(err, &e) {
		return e
	}
	return pgtype.Raise("%v", err)
}

// Unsubscribe implements project.Database.
func (db *Database) Unsubscribe([]*project.Subscription) {}

// isOpen is closed: a slot in memory is open at once.
var isOpen = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// OpenLog implements project.Database.
func (db *Database) OpenLog(context.Context, func()) project.Log { return db.openSlot() }

// Opened implements project.Log.
func (s *slot) Opened() <-chan struct{} { return isOpen }

// Err implements project.Log.
func (s *slot) Err() error { return nil }

// Close implements project.Log.
func (s *slot) Close() { s.close() }

// Next implements project.Log. A change of a table that is not published is not
// in it.
func (s *slot) Next(_ context.Context, max int, subs project.Subscribers, tooLarge func(table string) bool) (all []project.Change, err error) {
	for _, c := range s.next(max) {
		if !c.table.published.Load() {
			continue
		}
		deliveries, err := s.db.match(c, subs(uint32(c.table.index)), tooLarge)
		if err != nil {
			return nil, err
		}
		all = append(all, project.Change{Table: c.table.fullName(), Deliveries: deliveries})
	}
	return all, nil
}

// Messages implements project.Database.
func (db *Database) Messages(ctx context.Context, ready func(), deliver func(project.Message)) error {
	db.store.mu.Lock()
	db.store.deliver = deliver
	db.store.mu.Unlock()
	ready()
	<-ctx.Done()
	db.store.mu.Lock()
	db.store.deliver = nil
	db.store.mu.Unlock()
	return ctx.Err()
}

// Replay implements project.Database.
func (db *Database) Replay(_ context.Context, topic string, since time.Time, limit int) ([]project.Message, error) {
	return db.store.since(topic, since, limit), nil
}

// Permits implements project.Database. The error is a panic of a policy.
func (db *Database) Permits(_ context.Context, who project.Caller, a project.Access) (may bool, err error) {
	policy := db.policies.Read
	if a.Write {
		policy = db.policies.Write
	}
	switch {
	case !isRole(who.Role):
		return false, nil
	case policy != nil && BypassesRLS(who.Role):
		return true, nil
	}
	err = rescue.Do("a policy on realtime.messages", func() error {
		switch {
		case policy != nil:
			may = policy(a.Topic, a.Extension, who.Claims)
		case db.channels != nil:
			may = db.channels(a.Topic, who.Claims)
		default:
			may = who.Role == "authenticated" || who.Role == "service_role"
		}
		return nil
	})
	return may, err
}

// Exhaust implements project.Database.
func (db *Database) Exhaust(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Publication implements project.Database.
func (db *Database) Publication(context.Context) (string, error) {
	names := ""
	for _, t := range db.tables {
		if t.published.Load() {
			names += t.fullName() + " "
		}
	}
	return names, nil
}

// match finds who gets a change, and in which form: those whose filters it passes
// and who may see the row, as it is now. A DELETE is shown to everybody.
func (db *Database) match(c walChange, subs []*project.Subscription, tooLarge func(table string) bool) ([]project.Delivery, error) {
	t := c.table
	roles := (&wire.Change{Op: c.op, Commit: c.commit}).Roles(subs)
	if len(roles) == 0 && !t.hasJSON {
		return nil, nil // nothing of which the poll could fail for everybody
	}
	change, err := newChange(c)
	if err != nil {
		return nil, err
	}
	change.TooLarge = change.TooLarge || tooLarge(t.fullName())
	may := func(role string) []bool { return db.mayRead(role, t) }
	for role, subs := range roles {
		if change.Refused(may(role)) != "" {
			continue
		}
		roles[role] = subs[:0]
		for _, s := range subs {
			passes, err := passes(s.State.([]predicate), change)
			if err != nil {
				return nil, err
			}
			if passes && (c.op == "DELETE" || db.visible(t, t.key(entry{row: c.new}), s.Caller.Claims)) {
				roles[role] = append(roles[role], s)
			}
		}
	}
	return change.Deliveries(roles, may), nil
}

// mayRead returns which columns the role may read.
func (db *Database) mayRead(role string, t *table) []bool {
	may := make([]bool, len(t.columns))
	for i := range may {
		may[i] = db.canSelect(role, t, i)
	}
	return may
}

// passes reports whether all filters hold: for the new row, or for what is
// known of a deleted one. A column that is not there passes no filter.
func passes(filters []predicate, c *wire.Change) (bool, error) {
	for i := range filters {
		f := &filters[i]
		value := c.Value(f.index)
		if value == nil {
			return false, nil
		}
		if ok, err := f.matches(value); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// request is a request of the REST API that is carried out.
type request struct {
	*project.Request
	ctx   context.Context
	db    *Database
	table *table
}

// request begins to carry out a request.
func (db *Database) request(ctx context.Context, r *project.Request) (*request, error) {
	if !isRole(r.Role) {
		return nil, pgtype.Errorf(pgtype.CodeBadParameter, "role %q does not exist", r.Role)
	}
	return &request{Request: r, ctx: ctx, db: db}, nil
}

// tableRequest begins to carry out a request to a table.
func (db *Database) tableRequest(ctx context.Context, ask *project.Request) (*request, error) {
	r, err := db.request(ctx, ask)
	if err != nil {
		return nil, err
	}
	t, ok := db.table(ask.Schema, ask.Name)
	if !ok {
		return nil, project.NoTable(ask.Schema, ask.Name)
	}
	r.table = t
	return r, inMemory(ask.Query)
}

// Read implements project.Database.
func (db *Database) Read(ctx context.Context, ask *project.Request) (page project.Page, err error) {
	r, err := db.tableRequest(ctx, ask)
	if err != nil {
		return page, err
	}
	return r.read()
}

// Write implements project.Database.
func (db *Database) Write(ctx context.Context, ask *project.Request) (out project.Written, err error) {
	r, err := db.tableRequest(ctx, ask)
	switch {
	case err != nil:
		return out, err
	case !db.canWrite(r.Role, r.table):
		return out, r.table.denied()
	}
	switch r.Method {
	case http.MethodPost:
		return r.create()
	case http.MethodPatch:
		return r.update()
	}
	return r.delete()
}

// Call implements project.Database.
func (db *Database) Call(ctx context.Context, ask *project.Request) (out project.Called, err error) {
	r, err := db.request(ctx, ask)
	if err != nil {
		return out, err
	}
	return r.call()
}

// Describe implements project.Database.
func (db *Database) Describe(_ context.Context, who project.Caller, schema string) (described project.Schema, err error) {
	for _, t := range db.tables {
		if t.schema == schema && db.canSelectAny(who.Role, t) {
			described.Tables = append(described.Tables, project.Relation{Name: t.name, Columns: t.describe(), Writable: db.canWrite(who.Role, t)})
		}
	}
	if schema == "public" {
		described.Functions = slices.Sorted(maps.Keys(db.functions))
	}
	return described, nil
}

// canSelectAny reports whether the role may read any column.
func (db *Database) canSelectAny(role string, t *table) bool {
	for i := range t.columns {
		if db.canSelect(role, t, i) {
			return true
		}
	}
	return false
}

// describe describes the columns. A domain is described as what is under it.
func (t *table) describe() (columns []project.RelationColumn) {
	for i, c := range t.columns {
		typ := c.Type.Base()
		columns = append(columns, project.RelationColumn{
			Name: c.Name, Format: typ.FormatType(), NotNull: c.notNull, Key: slices.Contains(t.pk, i),
			MaxLength: typ.MaxLength(), Enum: typ.Labels,
		})
	}
	return columns
}

// Tables implements project.Database.
func (db *Database) Tables(context.Context) ([]project.Table, uint64, error) {
	list := []project.Table{}
	for _, t := range db.tables {
		described := t.describeTable()
		described.Rows = db.rows(t).count
		list = append(list, described)
	}
	return list, db.commits(), nil
}

func (t *table) describeTable() project.Table {
	described := project.Table{
		Schema: t.schema, Name: t.name, Columns: make([]project.Column, len(t.columns)), PrimaryKey: []string{},
		RLS: t.rls.Load(), Published: t.published.Load(), Identity: t.identity.String(),
	}
	for i, c := range t.columns {
		described.Columns[i] = project.Column{Name: c.Name, Type: c.Type.Name(), NotNull: c.notNull}
	}
	for _, i := range t.pk {
		described.PrimaryKey = append(described.PrimaryKey, t.columns[i].Name)
	}
	return described
}

// Rows implements project.Database.
func (db *Database) Rows(_ context.Context, of project.Table, offset, limit int) (rows [][]byte, count int, err error) {
	t, ok := db.table(of.Schema, of.Name)
	if !ok {
		return nil, 0, project.NoTable(of.Schema, of.Name)
	}
	all, err := t.newProjection(nil)
	set := db.rows(t)
	for e := range set.all(t) {
		if offset--; offset >= 0 {
			continue
		}
		if len(rows) == limit || err != nil {
			break
		}
		var row []byte
		row, err = all.json(e.row)
		rows = append(rows, row)
	}
	return rows, set.count, err
}

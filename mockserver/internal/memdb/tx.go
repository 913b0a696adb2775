package memdb

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Tx is a transaction under way: it sees the content of the tables as it was
// when it began, and its own changes. It is for the one function that it was
// given to, and that function's goroutine.
type Tx struct {
	db      *Database
	caller  project.Caller
	base    []*rowSet // what it began with, by table.index
	sets    []*rowSet // what it sees
	changes []txChange
	err     error // the first failure, which dooms it, or that it is over

	began    time.Time
	messages []storedMessage // to be sent

	hidden time.Duration // for how long others do not see it once it is committed
}

// txChange is a change that is not committed yet.
type txChange struct {
	table          *table
	op             string
	old, new       entry
	unchangedToast []bool
}

var errTxDone = errors.New("mockserver: the transaction is over")

func (db *Database) begin() *Tx {
	base := db.snapshot()
	return &Tx{db: db, caller: project.Caller{Role: "postgres"}, base: base, sets: slices.Clone(base), began: time.Now()}
}

// Run makes a transaction of what f does. A panic of f is an error.
func (db *Database) Run(f func(*Tx) error) error {
	_, err := db.attempt(f)
	return err
}

// attempt is run. It reports whether f succeeded and the commit failed.
func (db *Database) attempt(f func(*Tx) error) (lost bool, err error) {
	tx := db.begin()
	err = rescue.Do("a function, trigger, policy or default", func() error { return f(tx) })
	if err == nil {
		err = tx.err
	}
	tx.err = errTxDone
	if err != nil {
		return false, err
	}
	if err := db.commit(tx); err != nil {
		return true, err
	}
	if len(tx.messages) > 0 {
		db.deliverMessages()
	}
	return false, nil
}

// How often a transaction is tried that fails with a serialization failure. One
// that is lost at its commit meets others that have committed, one that raises
// the failure by itself meets the same trigger again.
const (
	maxLost   = 1000
	maxRaised = 10
)

// RunStatement is run for an f that may be called again: it is where f fails with
// a serialization failure, up to maxLost or maxRaised times.
func (db *Database) RunStatement(f func(*Tx) error) error {
	for tries := 1; ; tries++ {
		lost, err := db.attempt(f)
		most := maxRaised
		if lost {
			most = maxLost
		}
		if !isConflict(err) || tries >= most {
			return err
		}
	}
}

// isConflict reports whether an error is a serialization failure.
func isConflict(err error) bool {
	var refused *pgtype.Error
	return errors.As(err, &refused) && refused.Code == pgtype.CodeConflict
}

// Insert adds rows. A column that a row does not name gets its default. After
// an error the transaction is doomed: all that follows fails, and nothing of
// it is kept.
func (tx *Tx) Insert(name string, rows ...Row) error {
	return tx.statement(name, func(t *table) error {
		for _, values := range rows {
			r, err := t.newRow(values)
			if err != nil {
				return err
			}
			if r, err = tx.beforeInsert(t, r); err != nil {
				return err
			}
			if err := tx.insert(t, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// Update sets columns of the rows whose columns equal those of where (nil
// finds NULL), of every row where it is empty, and returns how many they are.
// A row counts, and its change comes out of the socket, even if it is as it
// was. An error dooms the transaction.
func (tx *Tx) Update(name string, set, where Row) (int, error) {
	n := 0
	err := tx.statement(name, func(t *table) error {
		values, err := t.datums(set)
		if err != nil {
			return err
		}
		found, err := tx.find(t, where)
		if err != nil {
			return err
		}
		n = len(found)
		return tx.updateAll(t, found, values)
	})
	return n, err
}

// Delete removes the rows whose columns equal those of where, every row where
// it is empty, and returns how many they were. An error dooms the transaction.
func (tx *Tx) Delete(name string, where Row) (int, error) {
	n := 0
	err := tx.statement(name, func(t *table) error {
		found, err := tx.find(t, where)
		if err != nil {
			return err
		}
		n = len(found)
		for _, e := range found {
			if err := tx.delete(t, e); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// statement runs f on a table, unless the transaction has failed or is over.
func (tx *Tx) statement(name string, f func(*table) error) error {
	return tx.step(func() error {
		t, err := tx.db.lookup(name)
		if err != nil {
			return err
		}
		return f(t)
	})
}

// step runs f, whose failure dooms the transaction, unless that has failed or
// is over.
func (tx *Tx) step(f func() error) error {
	if errors.Is(tx.err, errTxDone) {
		return tx.err
	}
	if tx.err != nil {
		return pgtype.Errorf("25P02", "current transaction is aborted, commands ignored until end of transaction block")
	}
	err := f()
	if err == nil {
		err = tx.err // of a statement that a trigger made
	}
	tx.err = err
	return err
}

// find returns the rows that the transaction sees with these values.
func (tx *Tx) find(t *table, where Row) ([]entry, error) {
	values, err := t.datums(where)
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		if v != nil && !t.columns[i].Type.Comparable() {
			return nil, noEquality(t.columns[i].Type).At(t.fullName(), t.columns[i].Name)
		}
	}
	from, to := position{}, position{after: true}
	if key, ok := t.keyOf(values); ok {
		from, to = position{prefix: key}, position{prefix: key, after: true}
	}
	var found []entry
	for e := range tx.sets[t.index].forward(t, from, to) {
		if t.matches(e.row, values) {
			found = append(found, e)
		}
	}
	return found, nil
}

// keyOf returns the primary key where the values have all of it.
func (t *table) keyOf(values map[int]any) ([]any, bool) {
	var key []any
	for _, c := range t.pk {
		if v := values[c]; v != nil {
			key = append(key, v)
		}
	}
	return key, len(key) > 0 && len(key) == len(t.pk)
}

// matches reports whether the row has the values.
func (t *table) matches(r row, values map[int]any) bool {
	for i, v := range values {
		if v == nil || r[i] == nil {
			if v != nil || r[i] != nil {
				return false
			}
			continue
		}
		if n, _ := t.columns[i].Type.Compare(r[i], v); n != 0 {
			return false
		}
	}
	return true
}

func noEquality(t pgtype.Type) *pgtype.Error {
	e := pgtype.Errorf(pgtype.CodeUndefinedOp, "operator does not exist: %s = %s", t.SQLName, t.SQLName)
	e.Hint = "No operator matches the given name and argument types. You might need to add explicit type casts."
	return e
}

// insert adds a row.
func (tx *Tx) insert(t *table, r row) error {
	if err := t.checkNotNull(r); err != nil {
		return err
	}
	e := entry{row: r}
	if len(t.pk) == 0 {
		e.id = tx.db.newID()
	}
	return tx.apply(txChange{table: t, op: "INSERT", new: e})
}

// update puts a row in the place of one that the transaction sees.
func (tx *Tx) update(t *table, old entry, r row, unchangedToast []bool) error {
	if err := t.checkIdentity("update", "updating", "updates"); err != nil {
		return err
	}
	if err := t.checkNotNull(r); err != nil {
		return err
	}
	return tx.apply(txChange{table: t, op: "UPDATE", old: old, new: entry{id: old.id, row: r}, unchangedToast: unchangedToast})
}

// updateAll sets the values in rows that the transaction sees.
func (tx *Tx) updateAll(t *table, found []entry, values map[int]any) error {
	for _, e := range found {
		fresh, err := tx.beforeUpdate(t, e.row, e.row.set(values))
		if err != nil {
			return err
		}
		if err := tx.update(t, e, fresh, t.unchangedToast(e.row, values)); err != nil {
			return err
		}
	}
	return nil
}

// beforeInsert has the table's trigger change a row.
func (tx *Tx) beforeInsert(t *table, fresh row) (row, error) {
	if t.beforeInsert == nil {
		return fresh, nil
	}
	changed, err := t.beforeInsert(&FuncTx{tx}, t.goRow(fresh))
	return t.triggered(fresh, changed, err)
}

// beforeUpdate has the table's trigger change a row.
func (tx *Tx) beforeUpdate(t *table, old, fresh row) (row, error) {
	if t.beforeUpdate == nil {
		return fresh, nil
	}
	changed, err := t.beforeUpdate(&FuncTx{tx}, t.goRow(old), t.goRow(fresh))
	return t.triggered(fresh, changed, err)
}

// triggered returns the row that a trigger gave. A column that it left out is
// as it was.
func (t *table) triggered(fresh row, changed Row, err error) (row, error) {
	if err != nil {
		return nil, raised(err)
	}
	values, err := t.datums(changed)
	if err != nil {
		return nil, err
	}
	return fresh.set(values), nil
}

// delete removes a row that the transaction sees.
func (tx *Tx) delete(t *table, old entry) error {
	if err := t.checkIdentity("delete from", "deleting from", "deletes"); err != nil {
		return err
	}
	return tx.apply(txChange{table: t, op: "DELETE", old: old})
}

// apply makes a change for the transaction itself.
func (tx *Tx) apply(c txChange) error {
	set, err := c.apply(tx.sets[c.table.index])
	if err != nil {
		return err
	}
	tx.sets[c.table.index] = set
	tx.changes = append(tx.changes, c)
	return tx.afterChange(c)
}

// afterChange calls the table's trigger.
func (tx *Tx) afterChange(c txChange) error {
	if c.table.afterChange == nil {
		return nil
	}
	written := func(r row) Row {
		if r == nil {
			return nil
		}
		return c.table.goRow(r)
	}
	if err := c.table.afterChange(&FuncTx{tx}, c.op, written(c.new.row), written(c.old.row)); err != nil {
		return raised(err)
	}
	return nil
}

// replay makes the transaction's changes of a table again, on what others
// have committed since.
func (tx *Tx) replay(t *table, set *rowSet) (*rowSet, error) {
	for _, c := range tx.changes {
		if c.table != t {
			continue
		}
		var err error
		if set, err = c.apply(set); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// apply returns the set with the change made. It fails if the old row is not
// the version that the change was made from, or if another row has the key.
func (c txChange) apply(set *rowSet) (*rowSet, error) {
	t := c.table
	if c.op != "INSERT" {
		key := t.key(c.old)
		now, ok := set.get(t, key)
		if !ok || !now.same(c.old) {
			return nil, pgtype.Errorf(pgtype.CodeConflict, "could not serialize access due to concurrent update").At(t.fullName(), "")
		}
		if c.op == "UPDATE" && t.order(c.new, key) == 0 {
			return set.with(t, c.new), nil
		}
		set = set.without(t, key)
	}
	if c.op == "DELETE" {
		return set, nil
	}
	if _, taken := set.get(t, t.key(c.new)); taken {
		return nil, t.duplicate(c.new)
	}
	return set.with(t, c.new), nil
}

// duplicate is the error of a primary key that is taken.
func (t *table) duplicate(e entry) *pgtype.Error {
	var names, values string
	for i, c := range t.pk {
		if i > 0 {
			names, values = names+", ", values+", "
		}
		names += t.columns[c].Name
		values += t.columns[c].Type.Text(e.row[c])
	}
	err := pgtype.Errorf(pgtype.CodeUnique, "duplicate key value violates unique constraint %q", t.name+"_pkey")
	err.Detail = fmt.Sprintf("Key (%s)=(%s) already exists.", names, values)
	return err.At(t.fullName(), "")
}

func (t *table) checkNotNull(r row) error {
	for i, c := range t.columns {
		if c.notNull && r[i] == nil {
			e := pgtype.Errorf(pgtype.CodeNotNull, "null value in column %q of relation %q violates not-null constraint", c.Name, t.name)
			return e.At(t.fullName(), c.Name)
		}
	}
	return nil
}

// checkIdentity refuses to change or remove rows of a published table whose
// replica identity could not tell which.
func (t *table) checkIdentity(verb, doing, kind string) error {
	none := t.identity == IdentityNothing || t.identity == IdentityDefault && len(t.pk) == 0
	if !none || !t.published.Load() {
		return nil
	}
	e := pgtype.Errorf(pgtype.CodeNotReady, "cannot %s table %q because it does not have a replica identity and publishes %s", verb, t.name, kind)
	e.Hint = "To enable " + doing + " the table, set REPLICA IDENTITY using ALTER TABLE."
	return e.At(t.fullName(), "")
}

// set returns a copy of the row with other values in some columns.
func (r row) set(values map[int]any) row {
	changed := slices.Clone(r)
	for i, v := range values {
		changed[i] = v
	}
	return changed
}

// toastThreshold is about where PostgreSQL moves a value out of line.
const toastThreshold = 2000

// unchangedToast marks the columns that are stored out of line and not set.
func (t *table) unchangedToast(old row, set map[int]any) []bool {
	var unchanged []bool
	for i, c := range t.columns {
		if _, isSet := set[i]; isSet || !c.toast || old[i] == nil || len(c.Type.Text(old[i])) <= toastThreshold {
			continue
		}
		if unchanged == nil {
			unchanged = make([]bool, len(t.columns))
		}
		unchanged[i] = true
	}
	return unchanged
}

package memdb

import (
	"fmt"
	"time"
)

// SetPolicies puts other policies in the place of those that a table has, and
// switches row level security on.
func (db *Database) SetPolicies(name string, p Policies) error {
	t, err := db.lookup(name)
	if err != nil {
		return err
	}
	t.policies.Store(&p)
	t.rls.Store(true)
	return nil
}

// HideRows hides the rows whose columns equal those of where from the roles that
// row level security applies to, and no others of the table; empty: none.
func (db *Database) HideRows(name string, where Row) error {
	t, err := db.lookup(name)
	if err != nil {
		return err
	}
	values, err := t.datums(where)
	if err != nil {
		return err
	}
	if len(values) == 0 {
		t.hidden.Store(nil)
		return nil
	}
	for i, v := range values {
		if v != nil && !t.columns[i].Type.Comparable() {
			return noEquality(t.columns[i].Type).At(t.fullName(), t.columns[i].Name)
		}
	}
	if !t.rls.Load() {
		return fmt.Errorf("mockserver: table %s: it has no row level security, so no rows of it can be hidden", t.fullName())
	}
	t.hidden.Store(&values)
	return nil
}

// Heal makes every row and every commit visible.
func (db *Database) Heal() {
	db.reveal()
	for _, t := range db.tables {
		t.hidden.Store(nil)
	}
}

// HideCommits makes the next n commits invisible to others for d.
func (db *Database) HideCommits(d time.Duration, n int) { db.hideCommits(d, n) }

// KeepPast keeps the content of tables for d after it has changed, for
// project.Request.Stale.
func (db *Database) KeepPast(d time.Duration) { db.keepPast(d) }

// Publish adds a table to the publication, or removes it.
func (db *Database) Publish(name string, on bool) error {
	t, err := db.lookup(name)
	if err != nil {
		return err
	}
	t.published.Store(on)
	return nil
}

// Truncate empties a table.
func (db *Database) Truncate(name string) error {
	t, err := db.lookup(name)
	if err != nil {
		return err
	}
	db.truncate(t)
	return nil
}

// Content returns the committed rows of a table in the order of its primary key.
func (db *Database) Content(name string) ([]Row, error) {
	t, err := db.lookup(name)
	if err != nil {
		return nil, err
	}
	set := db.rows(t)
	rows := make([]Row, 0, set.count)
	for e := range set.all(t) {
		rows = append(rows, t.goRow(e.row))
	}
	return rows, nil
}

// FullName returns the name of a table with its schema.
func (db *Database) FullName(name string) (string, error) {
	t, err := db.lookup(name)
	if err != nil {
		return "", err
	}
	return t.fullName(), nil
}

// Retained returns how many slots are open, and how many transactions are kept for
// them.
func (db *Database) Retained() (slots, transactions int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.slots), len(db.wal)
}

// Update is Tx.Update in a transaction of its own.
func (db *Database) Update(table string, set, where Row) (n int, err error) {
	err = db.RunStatement(func(tx *Tx) error {
		n, err = tx.Update(table, set, where)
		return err
	})
	return n, err
}

// Delete is Tx.Delete in a transaction of its own.
func (db *Database) Delete(table string, where Row) (n int, err error) {
	err = db.RunStatement(func(tx *Tx) error {
		n, err = tx.Delete(table, where)
		return err
	})
	return n, err
}

// Insert is Tx.Insert in a transaction of its own.
func (db *Database) Insert(table string, rows ...Row) error {
	return db.RunStatement(func(tx *Tx) error { return tx.Insert(table, rows...) })
}

package memdb

import (
	"slices"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
)

// hiddenTx is a transaction that is committed and logged, and that no other
// one sees yet: PostgreSQL writes the commit to the log before it takes the
// transaction off the list of those that are under way.
type hiddenTx struct {
	changes []txChange
	until   time.Time
}

// pastRows is the content that a table had until a commit.
type pastRows struct {
	table *table
	rows  *rowSet
	until time.Time
}

// reveal makes every commit visible.
func (db *Database) reveal() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.hides, db.hidden = 0, nil
}

// hideCommits makes the next n commits invisible to others for d.
func (db *Database) hideCommits(d time.Duration, n int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.hideFor, db.hides = max(d, 0), fault.Budget(n)
}

// hide makes a transaction that commits now invisible for a while, if that is
// asked for. The caller holds mu.
func (db *Database) hide(tx *Tx) {
	if !db.hides.Take() || db.hideFor == 0 {
		return
	}
	now := time.Now()
	db.hidden = slices.DeleteFunc(db.hidden, func(h hiddenTx) bool { return !h.until.After(now) })
	tx.hidden = db.hideFor
	db.hidden = append(db.hidden, hiddenTx{changes: slices.Clone(tx.changes), until: now.Add(db.hideFor)})
}

// visibleRows returns the content of a table as a new statement sees it:
// without what hidden transactions did. A row that another transaction has
// changed since is as that one left it.
func (db *Database) visibleRows(t *table) *rowSet {
	db.mu.Lock()
	defer db.mu.Unlock()
	set := t.rows
	if len(db.hidden) == 0 {
		return set
	}
	now := time.Now()
	for _, h := range slices.Backward(db.hidden) {
		if !h.until.After(now) {
			continue
		}
		for _, c := range slices.Backward(h.changes) {
			if c.table == t {
				set = c.undo(set)
			}
		}
	}
	return set
}

// undo returns the set with the change taken back, where the row is still as
// the change left it.
func (c txChange) undo(set *rowSet) *rowSet {
	t := c.table
	if c.op != "DELETE" {
		now, ok := set.get(t, t.key(c.new))
		if !ok || !now.same(c.new) {
			return set
		}
		set = set.without(t, t.key(c.new))
	}
	if c.op == "INSERT" {
		return set
	}
	if _, taken := set.get(t, t.key(c.old)); taken {
		return set
	}
	return set.with(t, c.old)
}

// keepPast has the content of tables kept for d after it has changed.
func (db *Database) keepPast(d time.Duration) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.keep = d
	db.trimPast()
}

// remember keeps the content that a table is about to lose. The caller holds
// mu.
func (db *Database) remember(t *table) {
	if db.keep == 0 {
		return
	}
	db.trimPast()
	db.past = append(db.past, pastRows{t, t.rows, time.Now()})
}

// trimPast drops what is too old. The caller holds mu.
func (db *Database) trimPast() {
	oldest := time.Now().Add(-db.keep)
	n := slices.IndexFunc(db.past, func(p pastRows) bool { return p.until.After(oldest) })
	if n < 0 {
		n = len(db.past)
	}
	db.past = slices.Delete(db.past, 0, n)
}

// rowsBefore returns the content that a table had so long ago, as far as that
// was kept.
func (db *Database) rowsBefore(t *table, ago time.Duration) *rowSet {
	db.mu.Lock()
	defer db.mu.Unlock()
	then := time.Now().Add(-ago)
	for _, p := range db.past {
		if p.table == t && p.until.After(then) {
			return p.rows
		}
	}
	return t.rows
}

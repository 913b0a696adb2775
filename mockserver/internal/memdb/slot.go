package memdb

import (
	"slices"
	"time"
)

// walTx is a transaction in the write-ahead log.
type walTx []walChange

// walChange is a row change in the write-ahead log.
type walChange struct {
	table *table
	op    string // INSERT, UPDATE, DELETE
	new   row    // nil for a DELETE
	old   row    // nil for an INSERT; else the whole old row, whatever the replica identity

	// unchangedToast marks the columns of an UPDATE that are stored out of line
	// and were not set. It is nil where there are none.
	unchangedToast []bool

	commit time.Time // of the transaction: UTC, in microseconds
	tx     uint64    // numbers the transactions
}

// slot is a reader of the write-ahead log, which is kept from the position of
// the oldest open slot on. It is safe for concurrent use.
type slot struct {
	db *Database
	at uint64 // how many transactions were logged before the next one; under db.mu
}

// openSlot returns a slot that reads what is committed from now on.
func (db *Database) openSlot() *slot {
	db.mu.Lock()
	defer db.mu.Unlock()
	s := &slot{db: db, at: db.walEnd}
	db.slots[s] = struct{}{}
	return s
}

// next consumes and returns changes in commit order: whole transactions, up to
// and with the one in which max changes are reached. It does not wait, and
// returns nil where there are none, or the slot is closed.
func (s *slot) next(max int) []walChange {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if _, open := s.db.slots[s]; !open {
		return nil
	}
	var changes []walChange
	for s.at < s.db.walEnd && len(changes) < max {
		changes = append(changes, s.db.wal[len(s.db.wal)-int(s.db.walEnd-s.at)]...)
		s.at++
	}
	s.db.trimWAL()
	return changes
}

// close gives up what the slot has not read. Twice is fine.
func (s *slot) close() {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	delete(s.db.slots, s)
	s.db.trimWAL()
}

// trimWAL drops the transactions that every open slot has read.
func (db *Database) trimWAL() {
	oldest := db.walEnd
	for s := range db.slots {
		oldest = min(oldest, s.at)
	}
	db.wal = slices.Delete(db.wal, 0, len(db.wal)-int(db.walEnd-oldest))
}

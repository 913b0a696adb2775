package memdb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Database holds the committed rows of the tables and the write-ahead log. It
// is safe for concurrent use, and calls no user code under its lock.
type Database struct {
	*users
	tables    []*table // fixed, in the order of Config.Tables
	functions map[string]Function
	channels  ChannelPolicy
	policies  MessagePolicies // on realtime.messages

	mu     sync.Mutex // guards table.rows, too
	lastTx uint64
	lastID uint64 // of rows of tables without a primary key
	wal    []walTx
	walEnd uint64 // the number of transactions ever logged; wal holds the last of them
	slots  map[*slot]struct{}

	messages []storedMessage // committed and not taken yet
	store    messageStore    // those that were

	hides   fault.Budget // how many of the next commits are hidden
	hideFor time.Duration
	hidden  []hiddenTx
	keep    time.Duration // for how long the content of tables is kept once it has changed
	past    []pastRows    // in the order of time
}

// roles are those that a token may name.
var roles = []string{"anon", "authenticated", "service_role", "postgres"}

func isRole(role string) bool { return slices.Contains(roles, role) }

// BypassesRLS reports whether policies are not asked for the role.
func BypassesRLS(role string) bool { return role == "service_role" || role == "postgres" }

// Settings are what a database is made of.
type Settings struct {
	Tables    []Table
	Functions map[string]Function
	Channels  ChannelPolicy   // nil: the roles authenticated and service_role
	Messages  MessagePolicies // where one is nil, Channels decides
}

// New makes a database. Its errors name the table and the column.
func New(cfg Settings) (*Database, error) {
	db := &Database{
		users: newUsers(), functions: maps.Clone(cfg.Functions), channels: cfg.Channels, policies: cfg.Messages, slots: map[*slot]struct{}{},
	}
	for _, spec := range cfg.Tables {
		t, err := newTable(spec)
		if err != nil {
			return nil, err
		}
		if _, twice := db.table(t.schema, t.name); twice {
			return nil, fmt.Errorf("mockserver: table %s: it is there twice", t.fullName())
		}
		t.index = len(db.tables)
		db.tables = append(db.tables, t)
		if err := db.load(t, spec.Rows); err != nil {
			return nil, err
		}
	}
	return db, nil
}

// load makes the first content of a table.
func (db *Database) load(t *table, rows []Row) error {
	entries := make([]entry, 0, len(rows))
	for i, values := range rows {
		r, err := t.newRow(values)
		if err == nil {
			err = t.checkNotNull(r)
		}
		if err != nil {
			return fmt.Errorf("%w (row %d of Table.Rows)", err, i+1)
		}
		db.lastID++
		entries = append(entries, entry{id: db.lastID, row: r})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return t.order(a, t.key(b)) })
	for i := 1; i < len(entries); i++ {
		if t.order(entries[i], t.key(entries[i-1])) == 0 {
			return t.duplicate(entries[i])
		}
	}
	t.rows = newRowSet(entries)
	t.startSequences(entries)
	return nil
}

// startSequences makes serial columns go on behind the first rows.
func (t *table) startSequences(entries []entry) {
	for i, c := range t.columns {
		if c.sequence == nil {
			continue
		}
		for _, e := range entries {
			if n, ok := e.row[i].(int64); ok && n > c.sequence.Load() {
				c.sequence.Store(n)
			}
		}
	}
}

// table returns the table of that name.
func (db *Database) table(schema, name string) (*table, bool) {
	i := slices.IndexFunc(db.tables, func(t *table) bool { return t.schema == schema && t.name == name })
	if i < 0 {
		return nil, false
	}
	return db.tables[i], true
}

// canSelect reports whether the role may read the column.
func (db *Database) canSelect(role string, t *table, column int) bool {
	if may, named := t.grants[role]; named {
		return may[column]
	}
	return t.grants == nil && isRole(role) || BypassesRLS(role)
}

// canWrite reports whether the role may insert, update and delete.
func (db *Database) canWrite(role string, t *table) bool {
	for i := range t.columns {
		if !db.canSelect(role, t, i) {
			return false
		}
	}
	return true
}

// visible reports whether, under row level security, the row that has the key
// now may be read under the claims: the row that others see. It is false where there is no such row,
// for every role, and true for any key where the table has no RLS.
func (db *Database) visible(t *table, key []any, claims project.Claims) bool {
	if !t.rls.Load() {
		return true
	}
	e, ok := db.visibleRows(t).get(t, key)
	return ok && t.allowed(t.selects, claims, e.row)
}

// allowed asks a policy about a row.
func (t *table) allowed(p Policy, claims project.Claims, r row) bool {
	if !t.rls.Load() || BypassesRLS(project.RoleOf(claims)) {
		return true
	}
	return p != nil && p(claims, t.goRow(r))
}

// rows returns the committed content of a table.
func (db *Database) rows(t *table) *rowSet {
	db.mu.Lock()
	defer db.mu.Unlock()
	return t.rows
}

// commits returns how many transactions have changed something.
func (db *Database) commits() uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.lastTx
}

// truncate empties a table. It is not logged: Realtime does not deliver it.
func (db *Database) truncate(t *table) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.remember(t)
	t.rows = &rowSet{}
	for i := range db.hidden { // for which a real TRUNCATE waits
		h := &db.hidden[i]
		h.changes = slices.DeleteFunc(h.changes, func(c txChange) bool { return c.table == t })
	}
}

// newID returns an id for a row of a table without a primary key.
func (db *Database) newID() uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.lastID++
	return db.lastID
}

// snapshot returns the committed content of every table, by table.index.
func (db *Database) snapshot() []*rowSet {
	db.mu.Lock()
	defer db.mu.Unlock()
	sets := make([]*rowSet, len(db.tables))
	for i, t := range db.tables {
		sets[i] = t.rows
	}
	return sets
}

// commit makes a transaction's changes permanent, all or none, and logs them.
func (db *Database) commit(tx *Tx) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	sets := map[*table]*rowSet{}
	for _, c := range tx.changes {
		if _, begun := sets[c.table]; begun {
			continue
		}
		sets[c.table] = tx.sets[c.table.index]
		if c.table.rows != tx.base[c.table.index] { // somebody else committed since
			set, err := tx.replay(c.table, c.table.rows)
			if err != nil {
				return err
			}
			sets[c.table] = set
		}
	}
	for t, set := range sets {
		db.remember(t)
		t.rows = set
	}
	db.messages = append(db.messages, tx.messages...)
	if len(tx.changes) > 0 {
		db.hide(tx)
		db.lastTx++
		db.log(tx.changes)
	}
	return nil
}

// takeMessages returns what committed transactions have sent since it was
// called last, in the order of the commits.
func (db *Database) takeMessages() []storedMessage {
	db.mu.Lock()
	defer db.mu.Unlock()
	taken := db.messages
	db.messages = nil
	return taken
}

// log appends a transaction to the WAL. Without slots nobody will ever read
// it, so it is not kept.
func (db *Database) log(changes []txChange) {
	if len(db.slots) == 0 {
		return
	}
	commit := time.Now().UTC().Truncate(time.Microsecond)
	logged := make(walTx, len(changes))
	for i, c := range changes {
		logged[i] = walChange{
			table: c.table, op: c.op, new: c.new.row, old: c.old.row,
			unchangedToast: c.unchangedToast, commit: commit, tx: db.lastTx,
		}
	}
	db.wal = append(db.wal, logged)
	db.walEnd++
}

// Schemas returns public and the schemas of the tables.
func (db *Database) Schemas() []string {
	names := []string{"public"}
	for _, t := range db.tables {
		if !slices.Contains(names, t.schema) {
			names = append(names, t.schema)
		}
	}
	return names
}

// lookup finds a table by its name, or schema and name.
func (db *Database) lookup(name string) (*table, error) {
	if t, ok := db.table("public", name); ok {
		return t, nil
	}
	if schema, local, ok := strings.Cut(name, "."); ok {
		if t, ok := db.table(schema, local); ok {
			return t, nil
		}
	}
	return nil, pgtype.Errorf(pgtype.CodeUndefinedTable, "relation %q does not exist", name)
}

package memdb

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

func slotDatabase(t testing.TB) *Database {
	t.Helper()
	db, err := New(Settings{Tables: []Table{{
		Name:       "notes",
		Columns:    []pgtype.Column{{Name: "id", Type: "int8"}, {Name: "n", Type: "int4"}, {Name: "big", Type: "text", Toast: true}},
		PrimaryKey: []string{"id"},
		Rows:       []Row{{"id": 1, "big": ""}},
	}}})
	require.NoError(t, err)
	return db
}

func insertNotes(t testing.TB, db *Database, ids ...int) {
	t.Helper()
	require.NoError(t, db.Run(func(tx *Tx) error {
		for _, id := range ids {
			if err := tx.Insert("notes", Row{"id": id}); err != nil {
				return err
			}
		}
		return nil
	}))
}

func noteIDs(changes []walChange) (ids []int64) {
	for _, c := range changes {
		r := c.new
		if r == nil {
			r = c.old
		}
		ids = append(ids, r[0].(int64))
	}
	return ids
}

func TestSlotReadsWholeTransactions(t *testing.T) {
	db := slotDatabase(t)
	insertNotes(t, db, 2)
	require.Empty(t, db.wal, "nobody reads it")
	first := db.openSlot()
	insertNotes(t, db, 3, 4, 5)
	insertNotes(t, db, 6)
	second := db.openSlot()
	insertNotes(t, db, 7)
	require.Error(t, db.Run(func(tx *Tx) error { return errors.Join(tx.Insert("notes", Row{"id": 8}), errors.New("no")) }))
	require.Equal(t, []int64{3, 4, 5}, noteIDs(first.next(1)), "a transaction is never cut")
	require.Equal(t, []int64{6}, noteIDs(first.next(1)))
	require.Equal(t, []int64{7}, noteIDs(first.next(2)))
	require.Nil(t, first.next(2))
	require.Len(t, db.wal, 1, "what the slowest slot has read is gone")
	require.Equal(t, []int64{7}, noteIDs(second.next(100)))
	require.Empty(t, db.wal)
	first.close()
	insertNotes(t, db, 9)
	require.Nil(t, first.next(1))
	second.close()
	second.close()
	require.Empty(t, db.wal)
	require.Empty(t, db.slots)
}

func TestTransactionHasOneTimestamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := slotDatabase(t)
		slot := db.openSlot()
		time.Sleep(1234567 * time.Nanosecond)
		insertNotes(t, db, 2, 3)
		time.Sleep(time.Second)
		insertNotes(t, db, 4)
		changes := slot.next(100)
		want := time.Date(2000, 1, 1, 0, 0, 0, 1234000, time.UTC)
		require.Equal(t, want, changes[0].commit)
		require.Equal(t, want, changes[1].commit)
		require.Equal(t, want.Add(time.Second), changes[2].commit)
		require.Equal(t, changes[0].tx, changes[1].tx)
		require.Less(t, changes[1].tx, changes[2].tx)
	})
}

func TestChangesInTheLog(t *testing.T) {
	db := slotDatabase(t)
	slot := db.openSlot()
	notes, _ := db.table("public", "notes")
	big := strings.Repeat("x", 2001)
	steps := []struct {
		do        func(tx *Tx) error
		op        string
		old, new  any // id and n
		unchanged bool
	}{
		{do: func(tx *Tx) error { return tx.Insert("notes", Row{"id": 2, "n": 1, "big": big}) }, op: "INSERT", new: []any{int64(2), int64(1)}},
		{do: func(tx *Tx) error { _, err := tx.Update("notes", Row{"n": 1}, Row{"id": 2}); return err }, op: "UPDATE", old: []any{int64(2), int64(1)}, new: []any{int64(2), int64(1)}, unchanged: true},
		{do: func(tx *Tx) error { _, err := tx.Update("notes", Row{"id": 3, "big": big}, Row{"id": 2}); return err }, op: "UPDATE", old: []any{int64(2), int64(1)}, new: []any{int64(3), int64(1)}},
		{do: func(tx *Tx) error { _, err := tx.Update("notes", Row{"big": big[:2000]}, Row{"id": 3}); return err }, op: "UPDATE", old: []any{int64(3), int64(1)}, new: []any{int64(3), int64(1)}},
		{do: func(tx *Tx) error { _, err := tx.Update("notes", Row{"n": nil}, Row{"id": 3}); return err }, op: "UPDATE", old: []any{int64(3), int64(1)}, new: []any{int64(3), nil}},
		{do: func(tx *Tx) error { _, err := tx.Delete("notes", Row{"id": 3}); return err }, op: "DELETE", old: []any{int64(3), nil}},
	}
	for i, s := range steps {
		require.NoError(t, db.Run(s.do))
		changes := slot.next(10)
		require.Len(t, changes, 1, "step %d", i)
		c := changes[0]
		require.Same(t, notes, c.table)
		require.Equal(t, s.op, c.op)
		requireNote(t, s.old, c.old)
		requireNote(t, s.new, c.new)
		if s.unchanged {
			require.Equal(t, []bool{false, false, true}, c.unchangedToast)
		} else {
			require.Nil(t, c.unchangedToast, "step %d", i)
		}
	}
	db.truncate(notes)
	require.Nil(t, slot.next(1))
	require.Zero(t, db.rows(notes).count)
}

func requireNote(t *testing.T, want any, r row) {
	t.Helper()
	if want == nil {
		require.Nil(t, r)
		return
	}
	require.Equal(t, want, []any(r[:2:2]))
}

func TestVisible(t *testing.T) {
	owns := func(claims project.Claims, row Row) bool { return row["owner"] == claims["sub"] }
	db, err := New(Settings{Tables: []Table{
		{Name: "mine", Columns: []pgtype.Column{{Name: "id", Type: "int8"}, {Name: "owner", Type: "text"}}, PrimaryKey: []string{"id"}, RLS: true, Select: owns, Rows: []Row{{"id": 1, "owner": "ann"}}},
		{Name: "closed", Columns: []pgtype.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}, RLS: true, Rows: []Row{{"id": 1}}},
		{Name: "open", Columns: []pgtype.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}},
	}})
	require.NoError(t, err)
	ann, ben := project.Claims{"role": "authenticated", "sub": "ann"}, project.Claims{"role": "authenticated", "sub": "ben"}
	service := project.Claims{"role": "service_role"}
	for _, c := range []struct {
		table  string
		id     int64
		claims project.Claims
		want   bool
	}{
		{"mine", 1, ann, true}, {"mine", 1, ben, false}, {"mine", 1, service, true}, {"mine", 2, service, false},
		{"closed", 1, ann, false}, {"closed", 1, service, true}, {"open", 7, ann, true},
	} {
		table, _ := db.table("public", c.table)
		require.Equal(t, c.want, db.visible(table, []any{c.id}, c.claims), "%+v", c)
	}
}

// What a table must have to be changed depends on the publication as it is
// now.
func TestPublicationChanges(t *testing.T) {
	db, err := New(Settings{Tables: []Table{{Name: "keyless", Columns: []pgtype.Column{{Name: "v", Type: "int8"}}, Rows: []Row{{"v": 1}}}}})
	require.NoError(t, err)
	keyless, _ := db.table("public", "keyless")
	remove := func() error {
		return db.Run(func(tx *Tx) error { _, err := tx.Delete("keyless", nil); return err })
	}
	require.Error(t, remove())
	require.NoError(t, db.Publish("keyless", false))
	require.False(t, keyless.published.Load())
	require.NoError(t, remove())
	require.NoError(t, db.Publish("keyless", true))
	require.NoError(t, db.Run(func(tx *Tx) error { return tx.Insert("keyless", Row{"v": 2}) }))
	require.Error(t, remove())
}

func TestColumnRights(t *testing.T) {
	db, err := New(Settings{Tables: []Table{
		{Name: "free", Columns: []pgtype.Column{{Name: "id", Type: "int8"}, {Name: "secret", Type: "text"}}},
		{Name: "granted", Columns: []pgtype.Column{{Name: "id", Type: "int8"}, {Name: "secret", Type: "text"}}, Grants: map[string][]string{"authenticated": {"id"}}},
		{Name: "nobody", Columns: []pgtype.Column{{Name: "id", Type: "int8"}, {Name: "secret", Type: "text"}}, Grants: map[string][]string{"service_role": {}}},
	}})
	require.NoError(t, err)
	for _, c := range []struct {
		role, table string
		id, secret  bool
	}{
		{"anon", "free", true, true}, {"nobody", "free", false, false}, {"postgres", "free", true, true},
		{"anon", "granted", false, false}, {"authenticated", "granted", true, false}, {"service_role", "granted", true, true}, {"postgres", "granted", true, true},
		{"service_role", "nobody", false, false},
	} {
		table, _ := db.table("public", c.table)
		require.Equal(t, c.id, db.canSelect(c.role, table, 0), "%+v", c)
		require.Equal(t, c.secret, db.canSelect(c.role, table, 1), "%+v", c)
		require.Equal(t, c.id && c.secret, db.canWrite(c.role, table), "%+v", c)
	}
	require.True(t, isRole("anon"))
	require.False(t, isRole("root"))
}

package memdb

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// datums returns what an object sets, by column.
func (r *request) datums(columns []int, object map[string]json.RawMessage, missingDefault bool) (map[int]any, error) {
	t, values := r.table, make(map[int]any, len(columns))
	for _, i := range columns {
		raw, given := object[t.columns[i].Name]
		switch {
		case given:
			v, err := t.columns[i].Type.FromJSON(raw)
			if err != nil {
				return nil, t.badValue(i, err)
			}
			values[i] = v
		case !missingDefault:
			values[i] = nil
		}
	}
	return values, nil
}

// written is what a write did.
type written struct {
	rows     []row // as they are now, or, of a DELETE, were
	inserted int
}

// write runs a write in a transaction of its own.
func (r *request) write(p *plan, f func(tx *Tx) (*written, error)) (out project.Written, err error) {
	var last *Tx
	err = r.db.RunStatement(func(tx *Tx) (err error) {
		tx.caller, last = r.Caller, tx
		done, err := f(tx)
		if err != nil {
			return err
		}
		if err := r.canceled(); err != nil {
			return err
		}
		if err := r.Accept(len(done.rows)); err != nil {
			return err
		}
		p.sortRows(done.rows)
		out = project.Written{Count: len(done.rows), Inserted: done.inserted}
		if r.Method == http.MethodPost && r.Prefer.Representation == "headers-only" && out.Count == 1 && len(r.table.pk) > 0 {
			out.Location = r.table.location(done.rows[0])
		}
		if r.Represents() {
			out.Rows, err = p.out.all(done.rows)
		}
		return err
	})
	if err == nil {
		last.awaitVisible(r.ctx)
	}
	return out, err
}

// awaitVisible waits until others see what a transaction did, as whoever
// commits does.
func (tx *Tx) awaitVisible(ctx context.Context) {
	if tx.hidden > 0 {
		t := time.NewTimer(tx.hidden)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// location is the path and query of a row, as PostgREST's header Location has
// it.
func (t *table) location(r row) string {
	key := url.Values{}
	for _, c := range t.pk {
		key.Set(t.columns[c].Name, "eq."+t.columns[c].Type.Text(r[c]))
	}
	return "/" + t.name + "?" + key.Encode()
}

// sortRows sorts rows that were written, if the request says how.
func (s *scan) sortRows(rows []row) {
	if len(s.order) == 0 {
		return
	}
	entries := make([]entry, len(rows))
	for i, r := range rows {
		entries[i].row = r
	}
	s.sort(entries)
	for i, e := range entries {
		rows[i] = e.row
	}
}

// columns looks up the columns that a body sets.
func (r *request) columns() (columns []int, err error) {
	for _, name := range r.Body.Columns {
		i, ok := r.table.byName[name]
		if !ok {
			return nil, project.NoColumn(r.table.name, name)
		}
		columns = append(columns, i)
	}
	return columns, nil
}

// create carries out POST.
func (r *request) create() (out project.Written, err error) {
	p, err := r.plan(r.Represents())
	if err != nil {
		return out, err
	}
	columns, err := r.columns()
	if err != nil {
		return out, err
	}
	if err := r.checkConflictTarget(); err != nil {
		return out, err
	}
	return r.write(p, func(tx *Tx) (*written, error) { return r.insertAll(tx, columns) })
}

// checkConflictTarget wants on_conflict to name the primary key, the only
// unique constraint that there is.
func (r *request) checkConflictTarget() error {
	if r.Query.OnConflict == nil || r.Prefer.Resolution == "" {
		return nil
	}
	var named []int
	for _, name := range r.Query.OnConflict {
		i, ok := r.table.byName[name]
		if !ok {
			return noColumn(r.table, name)
		}
		named = append(named, i)
	}
	slices.Sort(named)
	if !slices.Equal(named, slices.Sorted(slices.Values(r.table.pk))) {
		return pgtype.Errorf("42P10", "there is no unique or exclusion constraint matching the ON CONFLICT specification").At(r.table.fullName(), "")
	}
	return nil
}

// insertAll inserts the rows of a body, or does with those whose key is taken
// what the request says.
func (r *request) insertAll(tx *Tx, columns []int) (*written, error) {
	done := &written{}
	touched := map[*any]bool{} // the rows, by their first value
	for _, object := range r.Body.Rows {
		values, err := r.datums(columns, object, r.Prefer.Missing == "default")
		if err != nil {
			return nil, err
		}
		fresh, inserted, err := r.insertOne(tx, values, touched)
		if err != nil {
			return nil, err
		}
		if fresh == nil {
			continue
		}
		if r.Represents() && !r.allowed(r.table.selects, fresh) {
			return nil, r.table.rlsViolation()
		}
		touched[&fresh[0]] = true
		done.rows = append(done.rows, fresh)
		if inserted {
			done.inserted++
		}
	}
	return done, nil
}

// insertOne inserts a row, or merges it into the one that has its key, or, if
// duplicates are ignored, returns nil.
func (r *request) insertOne(tx *Tx, values map[int]any, touched map[*any]bool) (fresh row, inserted bool, err error) {
	t := r.table
	if fresh, err = t.fill(values); err != nil {
		return nil, false, err
	}
	if fresh, err = tx.beforeInsert(t, fresh); err != nil {
		return nil, false, err
	}
	if !r.allowed(t.inserts, fresh) {
		return nil, false, r.table.rlsViolation()
	}
	var old entry
	taken := false
	if len(t.pk) > 0 && r.Prefer.Resolution != "" && t.checkNotNull(fresh) == nil {
		old, taken = tx.sets[t.index].get(t, t.key(entry{row: fresh}))
	}
	switch {
	case !taken:
		return fresh, true, tx.insert(t, fresh)
	case r.Prefer.Resolution == "ignore-duplicates":
		return nil, false, nil
	case touched[&old.row[0]]:
		e := pgtype.Errorf(pgtype.CodeCardinality, "ON CONFLICT DO UPDATE command cannot affect row a second time")
		e.Hint = "Ensure that no rows proposed for insertion within the same command have duplicate constrained values."
		return nil, false, e
	}
	if !r.allowed(t.selects, old.row) || !r.allowed(t.updates, old.row) {
		return nil, false, pgtype.Errorf(pgtype.CodeNoRight, "new row violates row-level security policy (USING expression) for table %q", t.name).At(t.fullName(), "")
	}
	fresh, err = tx.updateAs(t, old, values)
	return fresh, false, err
}

// target plans a PATCH or DELETE.
func (r *request) target() (*plan, error) {
	if err := r.CheckTarget(); err != nil {
		return nil, err
	}
	return r.plan(r.Represents())
}

// find returns the rows that a PATCH or DELETE is about: those that the
// filters find and the policies show.
func (r *request) find(tx *Tx, p *plan, using Policy) []entry {
	var found []entry
	for e := range p.rows(r.ctx, tx.sets[r.table.index]) {
		if r.allowed(r.table.selects, e.row) && r.allowed(using, e.row) {
			found = append(found, e)
		}
	}
	return found
}

// update carries out PATCH.
func (r *request) update() (out project.Written, err error) {
	p, err := r.target()
	if err != nil {
		return out, err
	}
	columns, err := r.columns()
	if err != nil {
		return out, err
	}
	return r.write(p, func(tx *Tx) (*written, error) {
		if len(r.Body.Rows) == 0 || len(columns) == 0 {
			return &written{}, nil
		}
		values, err := r.datums(columns, r.Body.Rows[0], true)
		if err != nil {
			return nil, err
		}
		return r.updateAll(tx, r.find(tx, p, r.table.updates), values)
	})
}

func (r *request) updateAll(tx *Tx, found []entry, values map[int]any) (*written, error) {
	done := &written{}
	for _, e := range found {
		fresh, err := tx.updateAs(r.table, e, values)
		if err != nil {
			return nil, err
		}
		done.rows = append(done.rows, fresh)
	}
	return done, nil
}

// delete carries out DELETE.
func (r *request) delete() (out project.Written, err error) {
	p, err := r.target()
	if err != nil {
		return out, err
	}
	return r.write(p, func(tx *Tx) (*written, error) {
		done := &written{}
		for _, e := range r.find(tx, p, r.table.deletes) {
			if err := tx.delete(r.table, e); err != nil {
				return nil, err
			}
			done.rows = append(done.rows, e.row)
		}
		return done, nil
	})
}

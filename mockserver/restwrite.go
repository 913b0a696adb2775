package mockserver

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// payload is the body of a write: objects with the same keys.
type payload struct {
	columns []int
	rows    []map[string]json.RawMessage
}

// payload reads the body. Columns of the query count in the place of the
// objects' keys.
func (r *restRequest) payload() (*payload, error) {
	body, err := r.readBody()
	if err != nil {
		return nil, err
	}
	p, err := parsePayload(body)
	if err != nil {
		return nil, err
	}
	names := r.query.columns
	if names == nil && len(p.rows) > 0 {
		if names, err = p.keys(); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		i, ok := r.table.byName[name]
		if !ok {
			return nil, refuse(http.StatusBadRequest, "PGRST204", "Could not find the '%s' column of '%s' in the schema cache", name, r.table.name)
		}
		p.columns = append(p.columns, i)
	}
	return p, nil
}

// parsePayload reads objects, or the one object that stands for a list.
func parsePayload(body []byte) (p *payload, err error) {
	p = &payload{}
	if !utf8.Valid(body) { // encoding/json would put U+FFFD in the place of what is wrong
		return nil, refuse(http.StatusBadRequest, "PGRST102", "Empty or invalid json")
	}
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte{'['}) {
		err = json.Unmarshal(body, &p.rows)
	} else {
		p.rows = make([]map[string]json.RawMessage, 1)
		err = json.Unmarshal(body, &p.rows[0])
	}
	if err != nil || slices.ContainsFunc(p.rows, func(o map[string]json.RawMessage) bool { return o == nil }) {
		if json.Valid(body) {
			return nil, refuse(http.StatusBadRequest, "PGRST102", "All object keys must match")
		}
		return nil, refuse(http.StatusBadRequest, "PGRST102", "Empty or invalid json")
	}
	return p, nil
}

// keys returns the keys of the objects, which must be the same for all.
func (p *payload) keys() ([]string, error) {
	var names []string
	for name := range p.rows[0] {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, o := range p.rows[1:] {
		same := len(o) == len(names)
		for _, name := range names {
			_, has := o[name]
			same = same && has
		}
		if !same {
			return nil, refuse(http.StatusBadRequest, "PGRST102", "All object keys must match")
		}
	}
	return names, nil
}

// datums returns what an object sets, by column.
func (p *payload) datums(t *table, object map[string]json.RawMessage, missingDefault bool) (map[int]any, error) {
	values := make(map[int]any, len(p.columns))
	for _, i := range p.columns {
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
	location string   // of the one row that a backend's database has inserted
	body     [][]byte // the rows as JSON, if the answer is to have them
}

// write runs a write in a transaction of its own and answers it.
func (r *restRequest) write(p *plan, f func(tx *Tx) (*written, error)) (*restAnswer, error) {
	var done *written
	var last *Tx
	err := r.server.db.runStatement(func(tx *Tx) (err error) {
		tx.caller, last = r.caller, tx
		if done, err = f(tx); err != nil {
			return err
		}
		if err := r.canceled(); err != nil {
			return err
		}
		if err := r.single(len(done.rows)); err != nil {
			return err
		}
		p.sortRows(done.rows)
		if r.represents() {
			done.body, err = p.out.all(done.rows)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r.awaitVisible(last)
	return r.answerWrite(done), nil
}

// awaitVisible waits until others see what a transaction did, as whoever
// commits does.
func (r *restRequest) awaitVisible(tx *Tx) {
	if tx.hidden > 0 {
		r.server.realtime.pause(r.Context(), tx.hidden)
	}
}

func (r *restRequest) answerWrite(done *written) *restAnswer {
	a := r.answer(r.writeStatus(done))
	if applied := r.prefer.applied(); applied != "" {
		a.header.Set("Preference-Applied", applied)
	}
	r.setContentRange(a, len(done.rows))
	if r.represents() {
		a.setRows(r, done.body)
	}
	if r.Method == http.MethodPost && r.prefer.representation == "headers-only" && len(done.rows) == 1 && len(r.table.pk) > 0 {
		a.header.Set("Location", r.table.location(done.rows[0]))
	}
	if done.location != "" {
		a.header.Set("Location", done.location)
	}
	return a
}

func (r *restRequest) writeStatus(done *written) int {
	switch {
	case r.Method == http.MethodPost && (done.inserted > 0 || r.prefer.resolution != "merge-duplicates"):
		return http.StatusCreated
	case r.Method == http.MethodPost || r.represents():
		return http.StatusOK
	}
	return http.StatusNoContent
}

// represents reports whether the answer has the rows that were written.
func (r *restRequest) represents() bool { return r.prefer.representation == "representation" }

// setContentRange says how many rows were written, if that was asked for.
func (r *restRequest) setContentRange(a *restAnswer, rows int) {
	span, counted := "*", "*"
	if r.Method == http.MethodPatch {
		span = contentRange(0, rows)
	}
	if r.prefer.count != "" {
		counted = strconv.Itoa(rows)
	}
	a.header.Set("Content-Range", span+"/"+counted)
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

// create answers POST.
func (r *restRequest) create() (*restAnswer, error) {
	if !r.server.db.canWrite(r.role, r.table) {
		return nil, r.table.denied()
	}
	p, err := r.plan(r.represents())
	if err != nil {
		return nil, err
	}
	body, err := r.payload()
	if err != nil {
		return nil, err
	}
	if err := r.checkConflictTarget(); err != nil {
		return nil, err
	}
	return r.write(p, func(tx *Tx) (*written, error) { return r.insertAll(tx, body) })
}

// checkConflictTarget wants on_conflict to name the primary key, the only
// unique constraint that there is.
func (r *restRequest) checkConflictTarget() error {
	if r.query.onConflict == nil || r.prefer.resolution == "" {
		return nil
	}
	var named []int
	for _, name := range r.query.onConflict {
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
func (r *restRequest) insertAll(tx *Tx, body *payload) (*written, error) {
	done := &written{}
	touched := map[*any]bool{} // the rows, by their first value
	for _, object := range body.rows {
		values, err := body.datums(r.table, object, r.prefer.missing == "default")
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
		if r.represents() && !r.allowed(r.table.selects, fresh) {
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
func (r *restRequest) insertOne(tx *Tx, values map[int]any, touched map[*any]bool) (fresh row, inserted bool, err error) {
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
	if len(t.pk) > 0 && r.prefer.resolution != "" && t.checkNotNull(fresh) == nil {
		old, taken = tx.sets[t.index].get(t, t.key(entry{row: fresh}))
	}
	switch {
	case !taken:
		return fresh, true, tx.insert(t, fresh)
	case r.prefer.resolution == "ignore-duplicates":
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
func (r *restRequest) target() (*plan, error) {
	switch {
	case !r.server.db.canWrite(r.role, r.table):
		return nil, r.table.denied()
	case len(r.query.where) == 0: // what the extension safeupdate, which a project has, says
		statement := map[string]string{http.MethodPatch: "UPDATE", http.MethodDelete: "DELETE"}[r.Method]
		return nil, pgtype.Errorf(pgtype.CodeCardinality, "%s requires a WHERE clause", statement)
	case r.query.limit >= 0 || r.query.offset > 0:
		return nil, notImplemented("limit and offset of a write")
	}
	return r.plan(r.represents())
}

// find returns the rows that a PATCH or DELETE is about: those that the
// filters find and the policies show.
func (r *restRequest) find(tx *Tx, p *plan, using Policy) []entry {
	var found []entry
	for e := range p.rows(r.Context(), tx.sets[r.table.index]) {
		if r.allowed(r.table.selects, e.row) && r.allowed(using, e.row) {
			found = append(found, e)
		}
	}
	return found
}

// update answers PATCH.
func (r *restRequest) update() (*restAnswer, error) {
	p, err := r.target()
	if err != nil {
		return nil, err
	}
	body, err := r.payload()
	if err != nil {
		return nil, err
	}
	return r.write(p, func(tx *Tx) (*written, error) {
		if len(body.rows) == 0 || len(body.columns) == 0 {
			return &written{}, nil
		}
		values, err := body.datums(r.table, body.rows[0], true)
		if err != nil {
			return nil, err
		}
		return r.updateAll(tx, r.find(tx, p, r.table.updates), values)
	})
}

func (r *restRequest) updateAll(tx *Tx, found []entry, values map[int]any) (*written, error) {
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

// delete answers DELETE.
func (r *restRequest) delete() (*restAnswer, error) {
	p, err := r.target()
	if err != nil {
		return nil, err
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

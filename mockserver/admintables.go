package mockserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// adminTable describes a table.
type adminTable struct {
	Schema     string        `json:"schema"`
	Name       string        `json:"name"`
	Columns    []adminColumn `json:"columns"`
	PrimaryKey []string      `json:"primary_key"`
	RLS        bool          `json:"rls"`
	Published  bool          `json:"published"`
	Identity   string        `json:"replica_identity"`
	Rows       int           `json:"rows"`
}

type adminColumn struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	NotNull bool   `json:"not_null"`
}

func (a *admin) tables(*http.Request) (any, error) { return a.s.describeTables(), nil }

func (s *Server) describeTables() []adminTable {
	list := []adminTable{}
	for _, t := range s.db.all() {
		described := adminTable{
			Schema: t.schema, Name: t.name, Columns: make([]adminColumn, len(t.columns)), PrimaryKey: []string{},
			RLS: t.rls.Load(), Published: t.published.Load(), Identity: t.identity.String(), Rows: s.db.rows(t).count,
		}
		for i, c := range t.columns {
			described.Columns[i] = adminColumn{c.Name, c.Type.Name(), c.notNull}
		}
		for _, i := range t.pk {
			described.PrimaryKey = append(described.PrimaryKey, t.columns[i].Name)
		}
		list = append(list, described)
	}
	return list
}

// defaultRows is how many rows are shown to who does not say how many.
const defaultRows = 1000

// rows returns the rows in the order of the primary key.
func (a *admin) rows(r *http.Request) (any, error) {
	t, err := a.table(r)
	if err != nil {
		return nil, err
	}
	limit := defaultRows
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
			return nil, fmt.Errorf("limit %q is no number", text)
		}
	}
	rows := []json.RawMessage{}
	for e := range a.s.db.rows(t).all(t) {
		if len(rows) == limit {
			break
		}
		rows = append(rows, t.rowJSON(e.row))
	}
	return rows, nil
}

// rowJSON writes a row as the REST API does.
func (t *table) rowJSON(r row) json.RawMessage {
	b := []byte{'{'}
	for i, c := range t.columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(pgtype.AppendString(b, c.Name), ':')
		if r[i] == nil {
			b = append(b, "null"...)
			continue
		}
		b = append(b, c.Type.JSON(r[i])...)
	}
	return append(b, '}')
}

// table finds the table of the path.
func (a *admin) table(r *http.Request) (*table, error) {
	t, err := a.s.db.lookup(r.PathValue("table"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errNotFound)
	}
	return t, nil
}

// adminChange is one change of a transaction.
type adminChange struct {
	Insert string          `json:"insert"`
	Update string          `json:"update"`
	Delete string          `json:"delete"`
	Rows   json.RawMessage `json:"rows"` // of an insert: an object or several
	Set    jsonRow         `json:"set"`
	Where  jsonRow         `json:"where"`
}

// jsonRow is a Row in JSON, which is read as the REST API reads it: null is
// NULL, for columns of JSON, too.
type jsonRow map[string]json.RawMessage

func (j jsonRow) row() Row {
	r := Row{}
	for name, raw := range j {
		r[name] = nil
		if present(raw) {
			r[name] = raw
		}
	}
	return r
}

// adminChanged is the answer to changes: of how many rows.
type adminChanged struct {
	Changed int `json:"changed"`
}

func (a *admin) insert(r *http.Request) (any, error) {
	var rows json.RawMessage
	if err := readAdmin(r, &rows); err != nil {
		return nil, err
	}
	return a.change(r, adminChange{Insert: r.PathValue("table"), Rows: rows})
}

func (a *admin) update(r *http.Request) (any, error) {
	var body struct {
		Set   jsonRow `json:"set"`
		Where jsonRow `json:"where"`
	}
	if err := readAdmin(r, &body); err != nil {
		return nil, err
	}
	return a.change(r, adminChange{Update: r.PathValue("table"), Set: body.Set, Where: body.Where})
}

func (a *admin) delete(r *http.Request) (any, error) {
	var body struct {
		Where jsonRow `json:"where"`
	}
	if err := readAdmin(r, &body); err != nil {
		return nil, err
	}
	return a.change(r, adminChange{Delete: r.PathValue("table"), Where: body.Where})
}

// change makes one change of a table that must be there.
func (a *admin) change(r *http.Request, c adminChange) (any, error) {
	if _, err := a.table(r); err != nil {
		return nil, err
	}
	return a.changeAll([]adminChange{c})
}

func (a *admin) transaction(r *http.Request) (any, error) {
	var changes []adminChange
	if err := readAdmin(r, &changes); err != nil {
		return nil, err
	}
	return a.changeAll(changes)
}

// changeAll makes changes in one transaction, again where another one was in
// its way.
func (a *admin) changeAll(changes []adminChange) (any, error) {
	var done adminChanged
	err := a.s.db.runStatement(func(tx *Tx) error {
		done.Changed = 0
		for i, c := range changes {
			n, err := c.make(tx)
			if err != nil && len(changes) > 1 {
				err = fmt.Errorf("change %d: %w", i+1, err)
			}
			if err != nil {
				return err
			}
			done.Changed += n
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

// make makes the change and returns of how many rows.
func (c adminChange) make(tx *Tx) (int, error) {
	switch {
	case c.Insert != "" && c.Update == "" && c.Delete == "" && c.Set == nil && c.Where == nil:
		rows, err := insertedRows(c.Rows)
		if err != nil {
			return 0, err
		}
		return len(rows), tx.Insert(c.Insert, rows...)
	case c.Update != "" && c.Insert == "" && c.Delete == "" && c.Rows == nil && c.Set != nil && c.Where != nil:
		return tx.Update(c.Update, c.Set.row(), c.Where.row())
	case c.Delete != "" && c.Insert == "" && c.Update == "" && c.Rows == nil && c.Set == nil && c.Where != nil:
		return tx.Delete(c.Delete, c.Where.row())
	}
	return 0, errors.New("it must be an insert with rows, an update with set and where, or a delete with where; an empty where is every row")
}

// insertedRows reads one object or a list of them.
func insertedRows(raw json.RawMessage) (rows []Row, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte{'{'}) {
		raw = append(append([]byte{'['}, raw...), ']')
	}
	var objects []jsonRow
	if err := json.Unmarshal(raw, &objects); err != nil {
		return nil, fmt.Errorf("the rows: %w", err)
	}
	for _, object := range objects {
		rows = append(rows, object.row())
	}
	return rows, nil
}

func (a *admin) truncate(r *http.Request) (any, error) {
	t, err := a.table(r)
	if err != nil {
		return nil, err
	}
	a.s.db.truncate(t)
	return nil, nil
}

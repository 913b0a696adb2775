package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

func (a *Admin) tables(r *http.Request) (any, error) {
	tables, _, err := a.DB.Tables(r.Context())
	return tables, err
}

// defaultRows is how many rows are shown to who does not say how many.
const defaultRows = 1000

// rows returns the rows in the order of the primary key.
func (a *Admin) rows(r *http.Request) (any, error) {
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
	found, _, err := a.DB.Rows(r.Context(), t, 0, limit)
	rows := make([]json.RawMessage, len(found))
	for i, row := range found {
		rows[i] = row
	}
	return rows, err
}

// table finds the table of the path.
func (a *Admin) table(r *http.Request) (project.Table, error) {
	tables, _, err := a.DB.Tables(r.Context())
	name := r.PathValue("table")
	i := slices.IndexFunc(tables, func(t project.Table) bool {
		return t.Schema == "public" && t.Name == name || t.Schema+"."+t.Name == name
	})
	if err == nil && i < 0 {
		err = fmt.Errorf("%w: %w", pgtype.Errorf(pgtype.CodeUndefinedTable, "relation %q does not exist", name), errNotFound)
	}
	if err != nil {
		return project.Table{}, err
	}
	return tables[i], nil
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

// jsonRow is a Row in JSON, which is read as the REST API reads it.
type jsonRow map[string]json.RawMessage

// adminChanged is the answer to changes: of how many rows.
type adminChanged struct {
	Changed int `json:"changed"`
}

func (a *Admin) insert(r *http.Request) (any, error) {
	var rows json.RawMessage
	if err := readAdmin(r, &rows); err != nil {
		return nil, err
	}
	return a.change(r, adminChange{Insert: r.PathValue("table"), Rows: rows})
}

func (a *Admin) update(r *http.Request) (any, error) {
	var body struct {
		Set   jsonRow `json:"set"`
		Where jsonRow `json:"where"`
	}
	if err := readAdmin(r, &body); err != nil {
		return nil, err
	}
	return a.change(r, adminChange{Update: r.PathValue("table"), Set: body.Set, Where: body.Where})
}

func (a *Admin) delete(r *http.Request) (any, error) {
	var body struct {
		Where jsonRow `json:"where"`
	}
	if err := readAdmin(r, &body); err != nil {
		return nil, err
	}
	return a.change(r, adminChange{Delete: r.PathValue("table"), Where: body.Where})
}

// change makes one change of a table that must be there.
func (a *Admin) change(r *http.Request, c adminChange) (any, error) {
	if _, err := a.table(r); err != nil {
		return nil, err
	}
	return a.changeAll([]adminChange{c})
}

func (a *Admin) transaction(r *http.Request) (any, error) {
	var changes []adminChange
	if err := readAdmin(r, &changes); err != nil {
		return nil, err
	}
	return a.changeAll(changes)
}

// changeAll makes changes in one transaction.
func (a *Admin) changeAll(changes []adminChange) (any, error) {
	var done adminChanged
	err := a.Server.RunStatement(func(tx Tx) error {
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
func (c adminChange) make(tx Tx) (int, error) {
	switch {
	case c.Insert != "" && c.Update == "" && c.Delete == "" && c.Set == nil && c.Where == nil:
		rows, err := insertedRows(c.Rows)
		if err != nil {
			return 0, err
		}
		return len(rows), tx.Insert(c.Insert, rows...)
	case c.Update != "" && c.Insert == "" && c.Delete == "" && c.Rows == nil && c.Set != nil && c.Where != nil:
		return tx.Update(c.Update, rawjson.Values(c.Set), rawjson.Values(c.Where))
	case c.Delete != "" && c.Insert == "" && c.Update == "" && c.Rows == nil && c.Set == nil && c.Where != nil:
		return tx.Delete(c.Delete, rawjson.Values(c.Where))
	}
	return 0, errors.New("it must be an insert with rows, an update with set and where, or a delete with where; an empty where is every row")
}

// insertedRows reads one object or a list of them.
func insertedRows(raw json.RawMessage) (rows []project.Row, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte{'{'}) {
		raw = append(append([]byte{'['}, raw...), ']')
	}
	var objects []jsonRow
	if err := json.Unmarshal(raw, &objects); err != nil {
		return nil, fmt.Errorf("the rows: %w", err)
	}
	for _, object := range objects {
		rows = append(rows, rawjson.Values(object))
	}
	return rows, nil
}

func (a *Admin) truncate(r *http.Request) (any, error) {
	t, err := a.table(r)
	if err != nil {
		return nil, err
	}
	return nil, a.Server.Truncate(t.Schema + "." + t.Name)
}

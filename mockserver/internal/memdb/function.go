package memdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Function is a function of the database, in the schema public, which
// POST /rest/v1/rpc/NAME calls. It runs in one transaction, on behalf of the
// caller (security invoker): what it did is kept if it returns no error and
// nothing of it otherwise. The transaction may turn out to be in another one's
// way, and the function is then called again, so it must do nothing but
// through tx.
//
// args are the members of the JSON object in the body, and the result goes out
// as JSON. An *Error is answered as PostgREST answers PostgreSQL's, and any
// other error as RAISE EXCEPTION with its text. It is called without any lock
// held and from several goroutines at once.
type Function func(tx *FuncTx, args map[string]json.RawMessage) (any, error)

// FuncTx is the transaction of a function or trigger. Unlike Tx it is subject
// to grants and row level security, as its caller. It is for the one call that
// it was given to, and that call's goroutine.
type FuncTx struct{ tx *Tx }

// Role returns the caller's role.
func (f *FuncTx) Role() string { return f.tx.caller.Role }

// Claims returns the claims of the caller's token, which must not be changed.
func (f *FuncTx) Claims() project.Claims { return f.tx.caller.Claims }

// Select returns the rows of a table that the caller may see, in the order of
// its primary key, with the columns named, or with all where none is. Values
// are as Server.Rows gives them.
func (f *FuncTx) Select(name string, columns ...string) (rows []Row, err error) {
	err = f.tx.statement(name, func(t *table) error {
		named, err := t.columnsNamed(columns)
		if err != nil {
			return err
		}
		found, err := f.tx.selectAs(t, named)
		for _, r := range found {
			values := make(Row, len(named))
			for _, i := range named {
				values[t.columns[i].Name] = t.columns[i].Type.GoValue(r[i])
			}
			rows = append(rows, values)
		}
		return err
	})
	return rows, err
}

// Insert adds rows, as Tx.Insert does, as the caller.
func (f *FuncTx) Insert(name string, rows ...Row) error {
	return f.tx.statement(name, func(t *table) error {
		for _, values := range rows {
			if err := f.tx.insertAs(t, values); err != nil {
				return err
			}
		}
		return nil
	})
}

// Update sets columns of those rows that the caller may see and update and
// whose columns equal those of where, as Tx.Update does, and returns how many
// they are.
func (f *FuncTx) Update(name string, set, where Row) (n int, err error) {
	err = f.tx.statement(name, func(t *table) error {
		values, err := t.datums(set)
		if err != nil {
			return err
		}
		found, err := f.tx.findAs(t, where, t.updates)
		n = len(found)
		for _, e := range found {
			if _, err := f.tx.updateAs(t, e, values); err != nil {
				return err
			}
		}
		return err
	})
	return n, err
}

// Delete removes those rows that the caller may see and delete and whose
// columns equal those of where, and returns how many they were.
func (f *FuncTx) Delete(name string, where Row) (n int, err error) {
	err = f.tx.statement(name, func(t *table) error {
		found, err := f.tx.findAs(t, where, t.deletes)
		n = len(found)
		for _, e := range found {
			if err := f.tx.delete(t, e); err != nil {
				return err
			}
		}
		return err
	})
	return n, err
}

// columnsNamed resolves names of columns; none are all of them.
func (t *table) columnsNamed(names []string) ([]int, error) {
	columns := make([]int, 0, len(t.columns))
	for _, name := range names {
		i, err := t.column(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, i)
	}
	for i := range t.columns {
		if len(names) == 0 {
			columns = append(columns, i)
		}
	}
	return columns, nil
}

// seen returns the content of a table as the next statement of the transaction
// sees it: with what it did itself, or else as it is now.
func (tx *Tx) seen(t *table) *rowSet {
	if own := tx.sets[t.index]; own != tx.base[t.index] {
		return own
	}
	return tx.db.visibleRows(t)
}

// selectAs returns the rows that the caller may see, if it may read the
// columns.
func (tx *Tx) selectAs(t *table, columns []int) (found []row, err error) {
	for _, i := range columns {
		if !tx.db.canSelect(tx.caller.Role, t, i) {
			return nil, t.denied()
		}
	}
	for e := range tx.seen(t).all(t) {
		if tx.allowed(t, t.selects, e.row) {
			found = append(found, e.row)
		}
	}
	return found, nil
}

// allowed asks a policy about a row on behalf of the caller.
func (tx *Tx) allowed(t *table, p Policy, r row) bool {
	return BypassesRLS(tx.caller.Role) || t.allowed(p, tx.caller.Claims, r)
}

// insertAs adds a row as the caller.
func (tx *Tx) insertAs(t *table, values Row) error {
	if !tx.db.canWrite(tx.caller.Role, t) {
		return t.denied()
	}
	fresh, err := t.newRow(values)
	if err != nil {
		return err
	}
	if fresh, err = tx.beforeInsert(t, fresh); err != nil {
		return err
	}
	if !tx.allowed(t, t.inserts, fresh) {
		return t.rlsViolation()
	}
	return tx.insert(t, fresh)
}

// findAs returns the rows with these values that the caller may see and change.
func (tx *Tx) findAs(t *table, where Row, using Policy) ([]entry, error) {
	if !tx.db.canWrite(tx.caller.Role, t) {
		return nil, t.denied()
	}
	found, err := tx.find(t, where)
	return slices.DeleteFunc(found, func(e entry) bool {
		return !tx.allowed(t, t.selects, e.row) || !tx.allowed(t, using, e.row)
	}), err
}

// updateAs sets values in a row that the caller may update, if it may have it
// so, and returns the row as it is then.
func (tx *Tx) updateAs(t *table, old entry, values map[int]any) (row, error) {
	fresh, err := tx.beforeUpdate(t, old.row, old.row.set(values))
	if err != nil {
		return nil, err
	}
	if !tx.allowed(t, t.updates, fresh) || !tx.allowed(t, t.selects, fresh) {
		return nil, t.rlsViolation()
	}
	return fresh, tx.update(t, old, fresh, t.unchangedToast(old.row, values))
}

// raised makes an error of a function PostgreSQL's: one that is not, is what
// RAISE EXCEPTION makes of its text.
func raised(err error) error {
	var pg *pgtype.Error
	var rest *project.Refusal
	var panicked *rescue.Error
	if errors.As(err, &pg) || errors.As(err, &rest) || errors.As(err, &panicked) {
		return err
	}
	return pgtype.Raise("%v", err)
}

// call carries out the call of a function, in a transaction of its own, and again
// where that conflicts with another one, up to maxLost times. A function that
// itself returns the error of that is not called again.
func (r *request) call() (out project.Called, err error) {
	if r.Method != http.MethodPost {
		return out, project.NoCallBy(r.Method)
	}
	function, known := r.db.functions[r.Name]
	if !known || r.Schema != "public" {
		return out, project.NoFunction(r.Schema, r.Name, r.Args)
	}
	for tries := 1; ; tries++ {
		var last *Tx
		var result []byte
		lost, err := r.db.attempt(func(tx *Tx) (err error) {
			tx.caller, last = r.Caller, tx
			result, err = callJSON(function, &FuncTx{tx}, r.Args)
			return err
		})
		switch {
		case err == nil:
			last.awaitVisible(r.ctx)
			return project.Called{Page: project.Page{Rows: [][]byte{result}}, Void: result == nil}, nil
		case !lost || !isConflict(err) || tries >= maxLost:
			return out, err
		}
	}
}

// Void is the result of a function that returns void, for which there is no
// content in the answer.
type Void struct{}

// callJSON calls a function and writes its result.
func callJSON(function Function, tx *FuncTx, args map[string]json.RawMessage) ([]byte, error) {
	var result any
	err := rescue.Do("a function", func() (err error) {
		result, err = function(tx, maps.Clone(args))
		return err
	})
	if err != nil {
		return nil, raised(err)
	}
	if result == (Void{}) {
		return nil, nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(result); err != nil {
		return nil, fmt.Errorf("the result of the function has no JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

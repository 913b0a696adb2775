package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// routine is a function of the database.
type routine struct {
	Arguments []routineArgument `json:"arguments"`
	Optional  int               `json:"optional"` // how many of the last arguments have defaults
	Set       bool              `json:"set"`      // it returns a set
	Void      bool              `json:"void"`
	Rows      bool              `json:"rows"` // it returns rows, and no scalar
}

type routineArgument struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Mode string `json:"mode"` // v: variadic
}

// takes reports whether the function may be called with arguments of these
// names.
func (f *routine) takes(args map[string]json.RawMessage) bool {
	for i, a := range f.Arguments {
		if _, given := args[a.Name]; !given && i < len(f.Arguments)-f.Optional && a.Mode != "v" {
			return false
		}
	}
	for name := range args {
		if !slices.ContainsFunc(f.Arguments, func(a routineArgument) bool { return a.Name == name }) {
			return false
		}
	}
	return true
}

// takesBody reports whether the function's only argument has no name and is
// JSON: the body is passed to it as it is.
func (f *routine) takesBody() bool {
	return len(f.Arguments) == 1 && f.Arguments[0].Name == "" && (f.Arguments[0].Type == "json" || f.Arguments[0].Type == "jsonb")
}

// routines reads the functions of a name.
func (r *request) routines(name string) (found []*routine, err error) {
	rows, _, err := r.tx.Query(r.ctx, `select jsonb_build_object(
			'arguments', coalesce((
				select jsonb_agg(jsonb_build_object('name', coalesce(a.name, ''), 'type', format_type(a.type, null), 'mode', coalesce(a.mode, 'i')) order by a.n)
				from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes::text[]) with ordinality a(type, name, mode, n)
				where coalesce(a.mode, 'i') in ('i', 'b', 'v')), '[]'),
			'optional', p.pronargdefaults, 'set', p.proretset, 'void', t.typname = 'void',
			'rows', t.typtype = 'c' or t.typname = 'record')::text
		from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_type t on t.oid = p.prorettype
		where n.nspname = $1 and p.proname = $2 and p.prokind = 'f' and t.typname <> 'trigger'
		order by p.oid`, r.Schema, name)
	for _, text := range texts(rows) {
		f := &routine{}
		if err := json.Unmarshal(text, f); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, err
}

// Call implements project.Database.
func (db *Database) Call(ctx context.Context, ask *project.Request) (out project.Called, err error) {
	err = db.carryOut(ctx, ask, func(r *request) error {
		known, err := r.routines(r.Name)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(known, func(f *routine) bool { return !f.takesBody() && f.takes(r.Args) })
		if i < 0 {
			i = slices.IndexFunc(known, (*routine).takesBody)
		}
		if i < 0 {
			return project.NoFunction(r.Schema, r.Name, r.Args)
		}
		body, err := json.Marshal(r.Args)
		if err == nil {
			out, err = r.call(known[i], r.callSQL(known[i], quoteName(r.Schema, r.Name), r.Args), string(body))
		}
		return err
	})
	return out, err
}

// callSQL is the call in a FROM clause. $1 is the arguments as an object.
func (r *request) callSQL(f *routine, function string, args map[string]json.RawMessage) string {
	alias := ` as "pgrst_call"`
	if !f.Rows {
		alias += `("pgrst_scalar")`
	}
	if f.takesBody() {
		return function + "($1::" + f.Arguments[0].Type + ")" + alias
	}
	var columns []relationColumn
	var named []string
	for _, a := range f.Arguments {
		if _, given := args[a.Name]; !given {
			continue
		}
		columns = append(columns, relationColumn{name: a.Name, typ: a.Type})
		variadic := ""
		if a.Mode == "v" {
			variadic = "variadic "
		}
		named = append(named, variadic+quoteName(a.Name)+` := "pgrst_body".`+quoteName(a.Name))
	}
	if columns == nil {
		return "(select $1::json) pgrst_none, " + function + "()" + alias
	}
	return `json_to_record($1::json) as "pgrst_body"(` + definitions(columns) + "), lateral " + function + "(" + strings.Join(named, ", ") + ")" + alias
}

// call calls a function: from is the call in SQL, and body its parameter.
func (r *request) call(f *routine, from, body string) (out project.Called, err error) {
	out.Set, out.Void = f.Set, f.Void && !f.Set
	if f.Rows && f.Set {
		out.Page, err = r.readFrom(&relation{sql: quoteName("pgrst_call")}, from, []string{body})
		return out, err
	}
	value := `to_json("pgrst_call"."pgrst_scalar")::text`
	if f.Rows {
		value = `row_to_json("pgrst_call")::text`
	}
	rows, _, err := r.tx.Query(r.ctx, "select "+value+" from "+from, body)
	if err != nil {
		return out, err
	}
	out.Rows = texts(rows)
	for i := range out.Rows {
		if out.Rows[i] == nil {
			out.Rows[i] = []byte("null")
		}
	}
	if !f.Set && len(out.Rows) == 0 {
		out.Rows = [][]byte{[]byte("null")}
	}
	out.Total = len(out.Rows)
	return out, nil
}

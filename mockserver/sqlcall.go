package mockserver

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
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
func (r *sqlRequest) routines(name string) (found []*routine, err error) {
	rows, _, err := r.tx.Query(r.ctx, `select jsonb_build_object(
			'arguments', coalesce((
				select jsonb_agg(jsonb_build_object('name', coalesce(a.name, ''), 'type', format_type(a.type, null), 'mode', coalesce(a.mode, 'i')) order by a.n)
				from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes::text[]) with ordinality a(type, name, mode, n)
				where coalesce(a.mode, 'i') in ('i', 'b', 'v')), '[]'),
			'optional', p.pronargdefaults, 'set', p.proretset, 'void', t.typname = 'void',
			'rows', t.typtype = 'c' or t.typname = 'record')::text
		from pg_proc p join pg_namespace n on n.oid = p.pronamespace join pg_type t on t.oid = p.prorettype
		where n.nspname = $1 and p.proname = $2 and p.prokind = 'f' and t.typname <> 'trigger'
		order by p.oid`, r.schema, name)
	for _, text := range texts(rows) {
		f := &routine{}
		if err := json.Unmarshal(text, f); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, err
}

// callFunction answers a request to rpc/name.
func (r *sqlRequest) callFunction(name string) (*restAnswer, error) {
	args, body, err := r.callArguments()
	if err != nil {
		return nil, err
	}
	known, err := r.routines(name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(known, func(f *routine) bool { return !f.takesBody() && f.takes(args) })
	if i < 0 {
		i = slices.IndexFunc(known, (*routine).takesBody)
	}
	if i < 0 {
		return nil, noFunction(r.schema, name, args)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.query == nil {
		r.query = &restQuery{limit: -1}
	}
	r.table = &table{schema: r.schema, name: name}
	return r.answerCall(known[i], r.callSQL(known[i], quoteName(r.schema, name), args), body)
}

// callArguments reads the arguments: of a POST from the body, which may be
// none, and of a GET from the query.
func (r *sqlRequest) callArguments() (args map[string]json.RawMessage, body string, err error) {
	switch r.Method {
	case http.MethodPost:
		args, err = r.arguments()
	case http.MethodGet, http.MethodHead:
		args = map[string]json.RawMessage{}
		for name, values := range r.URL.Query() {
			if name != "apikey" {
				args[name] = mustJSON(values[0])
			}
		}
	default:
		return nil, "", refuse(http.StatusMethodNotAllowed, "PGRST101", "Cannot use the %s method on RPC", r.Method)
	}
	return args, string(mustJSON(args)), err
}

// callSQL is the call in a FROM clause. $1 is the arguments as an object.
func (r *sqlRequest) callSQL(f *routine, function string, args map[string]json.RawMessage) string {
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

func (r *sqlRequest) answerCall(f *routine, from, body string) (*restAnswer, error) {
	if f.Rows && f.Set {
		return r.readFrom(&relation{sql: quoteName("pgrst_call")}, from, []string{body})
	}
	value := `to_json("pgrst_call"."pgrst_scalar")::text`
	if f.Rows {
		value = `row_to_json("pgrst_call")::text`
	}
	rows, _, err := r.tx.Query(r.ctx, "select "+value+" from "+from, body)
	if err != nil {
		return nil, err
	}
	if f.Set {
		list := texts(rows)
		for i := range list {
			if list[i] == nil {
				list[i] = []byte("null")
			}
		}
		return r.answerPage(list, 0, len(list))
	}
	if f.Void {
		return &restAnswer{status: http.StatusNoContent, header: http.Header{}}, nil
	}
	a := &restAnswer{status: http.StatusOK, header: http.Header{}, body: []byte("null")}
	if len(rows) > 0 && rows[0][0] != nil {
		a.body = rows[0][0]
	}
	a.header.Set("Content-Type", "application/json; charset=utf-8")
	a.header.Set("Content-Range", "0-0/*")
	return a, nil
}

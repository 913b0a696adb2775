package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// filter is a filter that was checked against a table.
type filter struct {
	project.Filter
	typ  string   // of the column, in SQL
	want []string // of comparisons whose equality is that of PostgreSQL's text
	null bool     // of in: there is a NULL among the values
	fast bool     // want is to be used, and PostgreSQL is not to be asked
	bare bool     // of is: the JSON of a value may not be the type's text
	// lacking says that the type has no such operator: the poll fails of any value,
	// NULL too.
	lacking bool
}

// comparisons are the operators that a value is cast for.
var comparisons = map[string]string{
	"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "isdistinct": "is distinct from",
	"like": "~~", "ilike": "~~*", "match": "~", "imatch": "~*",
}

// The types that filters are told apart by.
const (
	boolOID  = 16
	byteaOID = 17
	textOID  = 25
)

// plainEquality are types of which two values are equal if their text is:
// bool, int8, int2, int4, text, oid, varchar, uuid.
var plainEquality = []uint32{boolOID, 20, 21, 23, textOID, 26, 1043, 2950}

// check does what the trigger on the real server's table of subscriptions does,
// and finds out what the trigger does not: that the type lacks the operator.
func (f *filter) check(ctx context.Context, tx pgx.Tx, c *column) error {
	if err := f.checkValue(ctx, tx, c); err != nil || f.Op == "is" {
		return err
	}
	trial, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = trial.Exec(ctx, f.sql(), []string{}, "{}")
	var pg *pgconn.PgError
	f.lacking = errors.As(err, &pg) && strings.HasPrefix(pg.Code, "42") // the value, which is not the filter's, may be in error
	return trial.Rollback(ctx)
}

func (f *filter) checkValue(ctx context.Context, tx pgx.Tx, c *column) error {
	switch f.Op {
	case "is":
		f.bare = c.kind == bySQL || c.kind == asJSONB
		return wire.CheckIs(f.Filter, f.typ)
	case "like", "ilike":
		return f.checkOperator(ctx, tx, c, "select exists (select from pg_operator where oprname = '~~' and oprleft = $1 and $2 <> '')")
	case "match", "imatch":
		err := f.checkOperator(ctx, tx, c, "select exists (select from pg_operator where oprname = $2 and oprleft = $1 and oprright = $1 and oprresult = 'bool'::regtype)")
		if err != nil {
			return err
		}
		return f.checkPattern(ctx, tx)
	case "in":
		f.fast = slices.Contains(plainEquality, c.typ)
		return f.checkIn(ctx, tx)
	}
	if c.typ == byteaOID {
		return nil // it is not cast
	}
	f.want = make([]string, 1)
	f.fast = slices.Contains(plainEquality, c.typ) && (f.Op == "eq" || f.Op == "neq")
	return tx.QueryRow(ctx, "select $1::text::"+f.typ+"::text", f.Value).Scan(&f.want[0])
}

func (f *filter) checkOperator(ctx context.Context, tx pgx.Tx, c *column, query string) error {
	var has bool
	if err := tx.QueryRow(ctx, query, c.typ, comparisons[f.Op]).Scan(&has); err != nil {
		return err
	}
	if !has {
		return wire.NotOfText(f.Filter, f.typ)
	}
	return nil
}

func (f *filter) checkPattern(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "select '' ~ $1::text", f.Value)
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return wire.BadPattern(f.Filter, pg.Message)
	}
	return err
}

func (f *filter) checkIn(ctx context.Context, tx pgx.Tx) error {
	var n int
	err := tx.QueryRow(ctx, `select cardinality(a), coalesce(array_position(a, null), 0) > 0,
		array(select v::text from unnest(a) v where v is not null)
		from (select $1::text::`+f.typ+`[] as a) given`, f.Value).Scan(&n, &f.null, &f.want)
	if err != nil {
		return err
	}
	return wire.CheckIn(n)
}

// decide tells of a value in its wire form, nil where the column is not there,
// whether it passes; or that PostgreSQL has to be asked. What the real server
// compares is the wire form: what was lost on the way to it is not there to be
// compared. Where SQL says NULL the answer is false, negated or not.
func (f *filter) decide(sent []byte) (passes, known bool) {
	null := string(sent) == "null"
	switch {
	case sent == nil:
		return false, true
	case f.lacking, f.bare && !null:
		return false, false
	case f.Op == "is":
		return wire.Is(f.Filter, sent), true
	case null && f.Op == "isdistinct":
		return !f.Negate, true
	case null:
		return false, true
	case !f.fast:
		return false, false
	}
	has := slices.Contains(f.want, wire.Text(sent))
	switch {
	case f.Op == "neq":
		has = !has
	case !has && f.null:
		return false, true
	}
	return has != f.Negate, true
}

// sql returns the query that decides about many values. Their text is $1, and
// the filter's value $2.
func (f *filter) sql() string {
	holds := "v::" + f.typ + " " + comparisons[f.Op] + " $2::text::" + f.typ
	switch f.Op {
	case "in":
		holds = "v::" + f.typ + " = any ($2::text::" + f.typ + "[])"
	case "is":
		holds = "v::" + f.typ + " is null and $2::text is not null"
	}
	if f.Negate {
		holds = "not (" + holds + ")"
	}
	return "select coalesce(" + holds + ", false) from unnest($1::text[]) with ordinality u(v, n) order by n"
}

// verdicts are what PostgreSQL says of values that filters were asked about.
type verdicts map[*filter]map[string]bool

// want has a filter asked about a value.
func (v verdicts) want(f *filter, sent []byte) {
	if v[f] == nil {
		v[f] = map[string]bool{}
	}
	v[f][wire.Text(sent)] = false
}

// ask asks about all values, filter by filter. An error of one is the poll's.
func (v verdicts) ask(ctx context.Context, conn *pgx.Conn) error {
	for f, texts := range v {
		values := make([]string, 0, len(texts))
		for text := range texts {
			values = append(values, text)
		}
		found, err := conn.Query(ctx, f.sql(), values, f.Value)
		if err != nil {
			return err
		}
		answers, err := pgx.CollectRows(found, pgx.RowTo[bool])
		if err != nil {
			return err
		}
		for i, passes := range answers {
			texts[values[i]] = passes
		}
	}
	return nil
}

// passes reports whether a value passes, after ask.
func (v verdicts) passes(f *filter, sent []byte) bool {
	passes, known := f.decide(sent)
	if !known {
		return v[f][wire.Text(sent)]
	}
	return passes
}

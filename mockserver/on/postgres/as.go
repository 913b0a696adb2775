package postgres

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// as runs f in a transaction as somebody, with settings for it, and commits it if f
// returns nil. The error is f's, or one such as that the role does not exist.
func (db *Database) as(ctx context.Context, who project.Caller, readOnly bool, settings map[string]string, f func(transaction) error) error {
	claims, err := json.Marshal(who.Claims)
	if err != nil {
		return err
	}
	settings = maps.Clone(settings)
	if settings == nil {
		settings = map[string]string{}
	}
	settings["request.jwt.claims"] = string(claims)
	var options pgx.TxOptions
	if readOnly {
		options = pgx.TxOptions{AccessMode: pgx.ReadOnly, IsoLevel: pgx.RepeatableRead}
	}
	if who.Role == "none" { // which SET ROLE takes for no role
		return &project.Error{Code: "22023", Message: `role "none" does not exist`}
	}
	err = pgx.BeginTxFunc(ctx, db.web, options, func(tx pgx.Tx) error {
		t := transaction{tx.Conn()}
		if err := t.set(ctx, settings, who.Role); err != nil {
			return err
		}
		return f(t)
	})
	return asError(err)
}

// transaction is a transaction as somebody. It is of one goroutine.
type transaction struct{ conn *pgx.Conn }

// set sets settings for the transaction, those that the role has, and the role
// behind them.
func (t transaction) set(ctx context.Context, settings map[string]string, role string) error {
	var calls, args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, name, settings[name])
	}
	for i := 0; i < len(args); i += 2 {
		calls = append(calls, "set_config("+param(i+1)+", "+param(i+2)+", true)")
	}
	p := param(len(args) + 1)
	calls = append(calls, `set_config('statement_timeout', coalesce((select split_part(setting, '=', 2) from pg_roles, unnest(rolconfig) setting
			where rolname = `+p+` and setting like 'statement_timeout=%'), current_setting('statement_timeout')), true)`,
		"set_config('role', "+p+", true)")
	_, _, err := t.Query(ctx, "select "+strings.Join(calls, ", "), append(args, role)...)
	return err
}

// Query runs one statement, and returns its rows as PostgreSQL's text, nil for
// NULL, and how many rows it affected. The parameters are text, whose types
// PostgreSQL infers from where they stand, as those of literals.
func (t transaction) Query(ctx context.Context, sql string, args ...string) ([][][]byte, int64, error) {
	values := make([][]byte, len(args))
	for i, a := range args {
		values[i] = []byte(a)
	}
	result := t.conn.PgConn().ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil {
		return nil, 0, asError(result.Err)
	}
	return result.Rows, result.CommandTag.RowsAffected(), nil
}

func param(n int) string { return "$" + strconv.Itoa(n) }

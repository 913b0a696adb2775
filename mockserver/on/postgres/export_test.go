package postgres

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// ErrFilterRefused is the error of Trial.Filter for a filter that is refused when
// it is subscribed.
var ErrFilterRefused = errors.New("refused")

// Trial does what a poll does with the column "v" of a table.
type Trial struct {
	conn  *pgx.Conn
	table *table
}

// NewTrial reads the catalog.
func NewTrial(ctx context.Context, conn *pgx.Conn, name string) (*Trial, error) {
	var oid uint32
	if err := conn.QueryRow(ctx, "select $1::text::regclass::oid", name).Scan(&oid); err != nil {
		return nil, err
	}
	tables, _, err := catalog(ctx, conn, []uint32{oid}, []string{conn.Config().User})
	if err != nil {
		return nil, err
	}
	return &Trial{conn, tables[oid]}, nil
}

// Wire returns the JSON of a value as it is sent, from PostgreSQL's text of it.
func (t *Trial) Wire(ctx context.Context, output string) (string, error) {
	var wire []byte
	q := &questions{}
	q.write(&wire, &t.table.columns[t.table.byName["v"]], value{pglogrepl.TupleDataTypeText, []byte(output)})
	err := q.ask(ctx, t.conn)
	return string(wire), err
}

// Filter subscribes with a filter and decides about values in their wire form. An
// error that is not ErrFilterRefused is the poll's.
func (t *Trial) Filter(ctx context.Context, op, value string, wires []string) (passes []bool, err error) {
	var filters []*filter
	err = pgx.BeginFunc(ctx, t.conn, func(tx pgx.Tx) error {
		var err error
		filters, err = checkFilters(ctx, tx, t.table, t.conn.Config().User, []project.Filter{{Column: "v", Op: op, Value: value}})
		return err
	})
	if err != nil {
		return nil, errors.Join(ErrFilterRefused, err)
	}
	v := verdicts{}
	for _, wire := range wires {
		if _, known := filters[0].decide([]byte(wire)); !known {
			v.want(filters[0], []byte(wire))
		}
	}
	if err := v.ask(ctx, t.conn); err != nil {
		return nil, err
	}
	for _, wire := range wires {
		passes = append(passes, v.passes(filters[0], []byte(wire)))
	}
	return passes, nil
}

// ShutDown says whether a cluster that does not run has been shut down, rather
// than cut.
func (c *Cluster) ShutDown(t testing.TB) bool {
	program, err := filepath.EvalSymlinks(c.bin.postgres)
	require.NoError(t, err)
	out, err := c.command(exec.Command(filepath.Join(filepath.Dir(program), "pg_controldata"), c.dir)).Output()
	require.NoError(t, err)
	return strings.Contains(string(out), "shut down\n")
}

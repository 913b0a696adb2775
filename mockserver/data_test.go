package mockserver_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

type (
	col = mockserver.Column
	row = mockserver.Row
)

// items is a table with a primary key, a default, a unique serial and types
// that numbers get lost in.
func items() mockserver.Table {
	return mockserver.Table{
		Name: "items",
		Columns: []col{
			{Name: "id", Type: "bigserial"},
			{Name: "name", Type: "text", NotNull: true},
			{Name: "price", Type: "numeric(12,2)", Default: func() any { return 0 }},
			{Name: "size", Type: "size", Enum: []string{"small", "large"}},
			{Name: "data", Type: "jsonb"},
			{Name: "tags", Type: "text[]"},
			{Name: "at", Type: "timestamptz"},
		},
		PrimaryKey: []string{"id"},
	}
}

func startWith(t *testing.T, tables ...mockserver.Table) *mockserver.Server {
	t.Helper()
	return mockserver.Start(t, mockserver.Config{InMemory: true, Tables: tables})
}

// requireRefused wants an *Error of that code about that table and column.
func requireRefused(t *testing.T, err error, code, table, column string) *mockserver.Error {
	t.Helper()
	var refused *mockserver.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, code, refused.Code, "%v", err)
	require.Equal(t, table, refused.Table, "%v", err)
	require.Equal(t, column, refused.Column, "%v", err)
	return refused
}

func contentOf(t *testing.T, s *mockserver.Server, table string) []row {
	t.Helper()
	rows, err := s.Rows(table)
	require.NoError(t, err)
	return rows
}

func TestInsertFillsInDefaults(t *testing.T) {
	s := startWith(t, items())
	require.NoError(t, s.Insert("items", row{"name": "a"}, row{"name": "b", "price": "1.005", "tags": []string{"x"}}))
	require.NoError(t, s.Insert("public.items", row{
		"id": int64(math.MaxInt64), "name": "c", "price": nil, "size": "large",
		"data": map[string]any{"k": 1}, "at": time.Date(2024, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600)),
	}))
	require.Equal(t, []row{
		{"id": int64(1), "name": "a", "price": json.Number("0.00"), "size": nil, "data": nil, "tags": nil, "at": nil},
		{"id": int64(2), "name": "b", "price": json.Number("1.01"), "size": nil, "data": nil, "tags": []any{"x"}, "at": nil},
		{"id": int64(math.MaxInt64), "name": "c", "price": nil, "size": "large", "data": json.RawMessage(`{"k": 1}`), "tags": nil, "at": time.Date(2024, 1, 2, 2, 4, 5, 6000, time.UTC)},
	}, contentOf(t, s, "items"))
}

func TestSerialsGoOnBehindTheFirstRows(t *testing.T) {
	table := items()
	table.Rows = []row{{"id": 7, "name": "given"}, {"name": "counted"}}
	s := startWith(t, table)
	require.NoError(t, s.Insert("items", row{"name": "next"}))
	var ids []any
	for _, r := range contentOf(t, s, "items") {
		ids = append(ids, r["id"])
	}
	require.Equal(t, []any{int64(1), int64(7), int64(8)}, ids)
}

// What Rows gives, Insert takes back without loss.
func TestRowsComeBackAsTheyWere(t *testing.T) {
	cfg := recordedDatabase()
	cfg.InMemory = true
	s := mockserver.Start(t, cfg)
	require.NoError(t, s.Insert("t_full", oddValues()...))
	rows := contentOf(t, s, "t_full")
	require.NotEmpty(t, rows)
	require.NoError(t, s.Insert("t_def", rows...))
	require.Equal(t, fmt.Sprintf("%#v", rows), fmt.Sprintf("%#v", contentOf(t, s, "t_def"))) // NaN is not equal to itself
}

// Neither what was inserted nor what was read is shared with the table.
func TestValuesAreCopied(t *testing.T) {
	s := startWith(t, mockserver.Table{Name: "blobs", Columns: []col{{Name: "b", Type: "bytea"}}})
	given := []byte("abc")
	require.NoError(t, s.Insert("blobs", row{"b": given}))
	given[0] = 'x'
	contentOf(t, s, "blobs")[0]["b"].([]byte)[1] = 'x'
	require.Equal(t, []row{{"b": []byte("abc")}}, contentOf(t, s, "blobs"))
}

func TestInsertIsRefused(t *testing.T) {
	s := startWith(t, items())
	require.NoError(t, s.Insert("items", row{"id": 1, "name": "a"}))
	for _, c := range []struct {
		name         string
		row          row
		code, column string
	}{
		{"duplicate key", row{"id": 1, "name": "b"}, "23505", ""},
		{"null", row{"id": 2}, "23502", "name"},
		{"null in the key", row{"id": nil, "name": "b"}, "23502", "id"},
		{"unknown column", row{"name": "b", "nope": 1}, "42703", "nope"},
		{"not an enum's label", row{"name": "b", "size": "huge"}, "22P02", "size"},
		{"out of range", row{"id": "9223372036854775808", "name": "b"}, "22003", "id"},
		{"too large for the precision", row{"name": "b", "price": 1e10}, "22003", "price"},
		{"not a number", row{"name": "b", "price": "x"}, "22P02", "price"},
		{"no value of the type", row{"name": "b", "tags": 5}, "22P02", "tags"},
		{"no Go value of any type", row{"name": "b", "id": make(chan int)}, "42804", "id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := s.Insert("items", row{"id": 100, "name": "goes with it"}, c.row)
			refused := requireRefused(t, err, c.code, "public.items", c.column)
			require.Contains(t, err.Error(), "mockserver: table public.items: ")
			require.Contains(t, err.Error(), refused.Message)
			require.Len(t, contentOf(t, s, "items"), 1, "a transaction is all or nothing")
		})
	}
	requireRefused(t, s.Insert("nope", row{}), "42P01", "", "")
	_, err := s.Rows("nope.items")
	requireRefused(t, err, "42P01", "", "")
	requireRefused(t, s.Truncate("nope"), "42P01", "", "")
}

func TestUpdateAndDelete(t *testing.T) {
	s := startWith(t, items())
	require.NoError(t, s.Insert("items", row{"name": "a"}, row{"name": "b", "size": "small"}, row{"name": "c", "size": "small"}))
	n, err := s.Update("items", row{"price": "2.50"}, row{"size": "small"})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = s.Update("items", row{"price": 9}, row{"size": nil, "name": "a"})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = s.Update("items", row{"id": 10}, row{"id": 1})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = s.Update("items", row{"name": "z"}, row{"id": 99})
	require.NoError(t, err)
	require.Zero(t, n)
	var got []string
	for _, r := range contentOf(t, s, "items") {
		got = append(got, fmt.Sprint(r["id"], r["name"], r["price"]))
	}
	require.Equal(t, []string{"2b2.50", "3c2.50", "10a9.00"}, got)

	_, err = s.Update("items", row{"id": 2}, row{"id": 3})
	requireRefused(t, err, "23505", "public.items", "")
	_, err = s.Update("items", row{"name": nil}, nil)
	requireRefused(t, err, "23502", "public.items", "name")
	_, err = s.Update("items", row{"nope": nil}, nil)
	requireRefused(t, err, "42703", "public.items", "nope")
	_, err = s.Delete("items", row{"nope": 1})
	requireRefused(t, err, "42703", "public.items", "nope")

	n, err = s.Delete("items", row{"size": "small", "id": 3})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	n, err = s.Delete("items", nil)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Empty(t, contentOf(t, s, "items"))
}

func TestWhereNeedsAnEqualityOperator(t *testing.T) {
	s := startWith(t, mockserver.Table{Name: "docs", Columns: []col{{Name: "id", Type: "int8"}, {Name: "doc", Type: "json"}}, PrimaryKey: []string{"id"}})
	_, err := s.Delete("docs", row{"doc": "{}"})
	requireRefused(t, err, "42883", "public.docs", "doc")
	_, err = s.Delete("docs", row{"doc": nil})
	require.NoError(t, err)
}

func TestReplicaIdentityOfPublishedTables(t *testing.T) {
	column := []col{{Name: "id", Type: "int8", NotNull: true}}
	s := startWith(t,
		mockserver.Table{Name: "nothing", Columns: column, PrimaryKey: []string{"id"}, ReplicaIdentity: mockserver.IdentityNothing, Rows: []row{{"id": 1}}},
		mockserver.Table{Name: "keyless", Columns: column, Rows: []row{{"id": 1}}},
		mockserver.Table{Name: "keyless_full", Columns: column, ReplicaIdentity: mockserver.IdentityFull, Rows: []row{{"id": 1}}},
		mockserver.Table{Name: "keyless_index", Columns: column, ReplicaIdentity: mockserver.IdentityIndex, IdentityColumns: []string{"id"}, Rows: []row{{"id": 1}}},
		mockserver.Table{Name: "unpublished", Columns: column, Unpublished: true, Rows: []row{{"id": 1}}},
	)
	for _, table := range []string{"nothing", "keyless"} {
		_, err := s.Update(table, row{"id": 2}, nil)
		refused := requireRefused(t, err, "55000", "public."+table, "")
		require.Equal(t, `cannot update table "`+table+`" because it does not have a replica identity and publishes updates`, refused.Message)
		_, err = s.Delete(table, nil)
		refused = requireRefused(t, err, "55000", "public."+table, "")
		require.Equal(t, `cannot delete from table "`+table+`" because it does not have a replica identity and publishes deletes`, refused.Message)
		require.NoError(t, s.Insert(table, row{"id": 3}))
	}
	for _, table := range []string{"keyless_full", "keyless_index", "unpublished"} {
		_, err := s.Update(table, row{"id": 2}, nil)
		require.NoError(t, err)
		require.Equal(t, []row{{"id": int64(2)}}, contentOf(t, s, table))
	}
}

func TestTableWithoutAKeyKeepsTheOrderOfInsertion(t *testing.T) {
	s := startWith(t, mockserver.Table{Name: "log", Columns: []col{{Name: "n", Type: "int4"}}, ReplicaIdentity: mockserver.IdentityFull, Rows: []row{{"n": 3}, {"n": 1}}})
	require.NoError(t, s.Insert("log", row{"n": 2}, row{"n": 1}))
	n, err := s.Update("log", row{"n": 9}, row{"n": 1})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, []row{{"n": int64(3)}, {"n": int64(9)}, {"n": int64(2)}, {"n": int64(9)}}, contentOf(t, s, "log"))
}

func TestTxSeesItsOwnWritesAndOthersDoNot(t *testing.T) {
	s := startWith(t, items())
	require.NoError(t, s.Tx(func(tx *mockserver.Tx) error {
		require.NoError(t, tx.Insert("items", row{"id": 1, "name": "a"}))
		n, err := tx.Update("items", row{"name": "b"}, row{"id": 1})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Empty(t, contentOf(t, s, "items"))
		n, err = tx.Delete("items", row{"name": "b"})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		return tx.Insert("items", row{"id": 1, "name": "c"})
	}))
	require.Equal(t, "c", contentOf(t, s, "items")[0]["name"])
}

func TestTxIsAllOrNothing(t *testing.T) {
	s := startWith(t, items())
	failed := errors.New("failed")
	require.ErrorIs(t, s.Tx(func(tx *mockserver.Tx) error {
		return errors.Join(tx.Insert("items", row{"name": "a"}), failed)
	}), failed)
	require.Empty(t, contentOf(t, s, "items"))

	var kept *mockserver.Tx
	err := s.Tx(func(tx *mockserver.Tx) error {
		kept = tx
		require.NoError(t, tx.Insert("items", row{"name": "a"}))
		requireRefused(t, tx.Insert("items", row{}), "23502", "public.items", "name")
		requireRefused(t, tx.Insert("items", row{"name": "b"}), "25P02", "", "")
		return nil // the failure of a statement is not forgotten
	})
	requireRefused(t, err, "23502", "public.items", "name")
	require.Empty(t, contentOf(t, s, "items"))
	require.ErrorContains(t, kept.Insert("items", row{"name": "late"}), "over")
}

func TestTxConflicts(t *testing.T) {
	s := startWith(t, items())
	require.NoError(t, s.Insert("items", row{"id": 1, "name": "a"}, row{"id": 2, "name": "b"}))
	conflict := func(inTx func(tx *mockserver.Tx) error, meanwhile func() error) error {
		return s.Tx(func(tx *mockserver.Tx) error {
			err := inTx(tx)
			require.NoError(t, meanwhile())
			return err
		})
	}
	rename := func(id int, name string) func(tx *mockserver.Tx) error {
		return func(tx *mockserver.Tx) error {
			_, err := tx.Update("items", row{"name": name}, row{"id": id})
			return err
		}
	}
	requireRefused(t, conflict(rename(1, "x"), func() error { _, err := s.Update("items", row{"price": 1}, row{"id": 1}); return err }), "40001", "public.items", "")
	requireRefused(t, conflict(rename(1, "x"), func() error { _, err := s.Delete("items", row{"id": 1}); return err }), "40001", "public.items", "")
	requireRefused(t, conflict(
		func(tx *mockserver.Tx) error { return tx.Insert("items", row{"id": 5, "name": "mine"}) },
		func() error { return s.Insert("items", row{"id": 5, "name": "theirs"}) },
	), "23505", "public.items", "")
	require.NoError(t, conflict(rename(2, "x"), func() error { return s.Insert("items", row{"id": 3, "name": "c"}) }), "another row is in nobody's way")
	var names []any
	for _, r := range contentOf(t, s, "items") {
		names = append(names, r["name"])
	}
	require.Equal(t, []any{"x", "c", "theirs"}, names)
}

// Single statements are tried again until they get through, so none is lost.
func TestConcurrentStatements(t *testing.T) {
	s := startWith(t, items(), mockserver.Table{Name: "counter", Columns: []col{{Name: "id", Type: "int4"}, {Name: "by", Type: "int4"}}, PrimaryKey: []string{"id"}, Rows: []row{{"id": 1}}})
	const workers, each = 8, 50
	var updated atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for range each {
				n, err := s.Update("counter", row{"by": worker}, row{"id": 1})
				updated.Add(int64(n))
				if err == nil {
					err = s.Insert("items", row{"name": "n"})
				}
				if err == nil {
					_, err = s.Rows("items")
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, workers*each, updated.Load())
	require.Len(t, contentOf(t, s, "items"), workers*each)
}

func TestTruncate(t *testing.T) {
	s := startWith(t, items())
	require.NoError(t, s.Insert("items", row{"name": "a"}))
	require.NoError(t, s.Truncate("items"))
	require.Empty(t, contentOf(t, s, "items"))
	require.NoError(t, s.Insert("items", row{"name": "b"}))
}

func TestBadConfig(t *testing.T) {
	id := col{Name: "id", Type: "int8"}
	table := func(change func(*mockserver.Table)) mockserver.Config {
		spec := mockserver.Table{Name: "t", Columns: []col{id, {Name: "doc", Type: "json"}}, PrimaryKey: []string{"id"}}
		change(&spec)
		return mockserver.Config{InMemory: true, Tables: []mockserver.Table{spec}}
	}
	yes := func(mockserver.Claims, row) bool { return true }
	for want, cfg := range map[string]mockserver.Config{
		"a table has no name":                                   table(func(s *mockserver.Table) { s.Name = "" }),
		"table public.t: it has no columns":                     table(func(s *mockserver.Table) { s.Columns = nil }),
		"table public.t: column 2 has no name":                  table(func(s *mockserver.Table) { s.Columns[1].Name = "" }),
		"table public.t: column id: it is there twice":          table(func(s *mockserver.Table) { s.Columns[1].Name = "id" }),
		"table public.t: column id: type varchar: bad modifier": table(func(s *mockserver.Table) { s.Columns[0].Type = "varchar(0)" }),
		"column id: type int8 is built in":                      table(func(s *mockserver.Table) { s.Columns[0].Enum = []string{"a"} }),
		"enum e: label \"a\" is there twice":                    table(func(s *mockserver.Table) { s.Columns[0] = col{Name: "id", Type: "e", Enum: []string{"a", "a"}} }),
		"only one of Enum, Domain and Composite": table(func(s *mockserver.Table) {
			s.Columns[0] = col{Name: "id", Type: "e", Enum: []string{"a"}, Domain: "int4"}
		}),
		"column id: domain d: type \" \" has no name": table(func(s *mockserver.Table) { s.Columns[0] = col{Name: "id", Type: "d", Domain: " "} }),
		"composite c: column x: type": table(func(s *mockserver.Table) {
			s.Columns[0] = col{Name: "id", Type: "c", Composite: []col{{Name: "x", Type: "char(0)"}}}
		}),
		"column doc: type json has no order":            table(func(s *mockserver.Table) { s.PrimaryKey = []string{"doc"} }),
		"column nope: it is in the primary key but not": table(func(s *mockserver.Table) { s.PrimaryKey = []string{"nope"} }),
		"column id: it is in the primary key twice":     table(func(s *mockserver.Table) { s.PrimaryKey = []string{"id", "id"} }),
		"IdentityColumns go with IdentityIndex":         table(func(s *mockserver.Table) { s.ReplicaIdentity = mockserver.IdentityIndex }),
		"column nope: it is in the replica identity but not": table(func(s *mockserver.Table) {
			s.ReplicaIdentity, s.IdentityColumns = mockserver.IdentityIndex, []string{"nope"}
		}),
		"column doc: it is in the replica identity and must": table(func(s *mockserver.Table) {
			s.ReplicaIdentity, s.IdentityColumns = mockserver.IdentityIndex, []string{"doc"}
		}),
		"ReplicaIdentity(9) is no replica identity":                                                               table(func(s *mockserver.Table) { s.ReplicaIdentity = 9 }),
		"it has policies, but RLS is off":                                                                         table(func(s *mockserver.Table) { s.Select = yes }),
		"grant to role \"root\", which does not exist":                                                            table(func(s *mockserver.Table) { s.Grants = map[string][]string{"root": {"*"}} }),
		"column nope: granted to anon but not in the table":                                                       table(func(s *mockserver.Table) { s.Grants = map[string][]string{"anon": {"nope"}} }),
		"t: column id: invalid input syntax for type bigint: \"x\" [22P02] (row 2 of Table.Rows)":                 table(func(s *mockserver.Table) { s.Rows = []row{{"id": 1}, {"id": "x"}} }),
		"duplicate key value violates unique constraint \"t_pkey\"":                                               table(func(s *mockserver.Table) { s.Rows = []row{{"id": 1}, {"id": 1}} }),
		"t: column id: null value in column \"id\" of relation \"t\" violates not-null constraint [23502] (row 1": table(func(s *mockserver.Table) { s.Rows = []row{{}} }),
		"table public.t: it is there twice":                                                                       {InMemory: true, Tables: append(table(func(*mockserver.Table) {}).Tables, table(func(*mockserver.Table) {}).Tables...)},
		"Config.TokenLifetime is 1ms":                                                                             {InMemory: true, TokenLifetime: time.Millisecond},
		"Config.MaxRows is -1":                                                                                    {InMemory: true, MaxRows: -1},
		"Config.InMemory and Config.Addr are both set":                                                            {InMemory: true, Addr: ":0"},
		"Config.Keys[0] has no ID":                                                                                {InMemory: true, Keys: []mockserver.VerificationKey{{}}},
		"Config.Keys[0].Key is a string":                                                                          {InMemory: true, Keys: []mockserver.VerificationKey{{ID: "k", Key: "pem"}}},
		"Config.Users[0]: it has neither Email nor Phone":                                                         {InMemory: true, Users: []mockserver.User{{Password: "p"}}},
		"Config.Users[0]: it has no Password":                                                                     {InMemory: true, Users: []mockserver.User{{Email: "a"}}},
		"Config.Users[0]: ID \"5\" is no UUID":                                                                    {InMemory: true, Users: []mockserver.User{{Email: "a", Password: "p", ID: "5"}}},
		"Config.Users[0]: role \"root\" does not exist":                                                           {InMemory: true, Users: []mockserver.User{{Email: "a", Password: "p", Role: "root"}}},
		"Config.Users[1]: its Email or Phone is another":                                                          {InMemory: true, Users: []mockserver.User{{Email: "a", Password: "p"}, {Email: "A", Password: "p"}}},
		"listen tcp": {Addr: "256.0.0.1:0"},
	} {
		_, err := mockserver.New(cfg)
		require.ErrorContains(t, err, want)
	}
}

// fatalTB is a test that ends at the first failure, without ending this one.
type fatalTB struct{ failed []any }

func (f *fatalTB) Helper()          {}
func (f *fatalTB) Cleanup(func())   {}
func (f *fatalTB) Fatal(why ...any) { f.failed = why }

func TestStartIsFatalToTheTest(t *testing.T) {
	tb := &fatalTB{}
	require.Nil(t, mockserver.Start(tb, mockserver.Config{MaxRows: -1}))
	require.Len(t, tb.failed, 1)
}

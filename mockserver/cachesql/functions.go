package cachesql

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/gapless-go/gapless/internal/pghash"
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// Install returns the tables and functions with those that install.sql of package
// cache/sql adds to a database: the table rt_mark and the functions rt_describe,
// rt_chunk, rt_digest and rt_keys, in the schema public, for the roles
// authenticated, service_role and those of more, such as anon with anon.sql.
// Functions of other names are kept. What is given is not changed.
func Install(tables []memdb.Table, functions map[string]memdb.Function, more ...string) ([]memdb.Table, map[string]memdb.Function) {
	all := maps.Clone(functions)
	if all == nil {
		all = map[string]memdb.Function{}
	}
	roles := append([]string{"authenticated", "service_role"}, more...)
	add := func(name string, f func(*call) (any, error), required int, params ...string) {
		all[name] = declared(name, roles, f, required, params)
	}
	scope := []string{"rel", "key", "version", "filter", "after", "upto", "lim", "seed", "within_bits", "within", "mark"}
	add("rt_describe", rtDescribe, 1, "rel")
	add("rt_chunk", rtChunk, 2, "rel", "key", "cols", "filter", "after", "upto", "lim", "mark")
	add("rt_digest", rtDigest, 2, append(slices.Clip(scope), "bits")...)
	add("rt_keys", rtKeys, 2, scope...)
	return append(slices.Clip(tables), markTable()), all
}

// markAge is how old a mark is that nobody uses any more.
const markAge = 24 * time.Hour

// maxMarks is how many marks an owner may have.
const maxMarks = 1000

// markTable is rt_mark: a row for each client that marks positions in the
// stream of changes, and whose number counts the marks in the order of their
// commits.
func markTable() memdb.Table {
	own := func(claims map[string]any, r memdb.Row) bool {
		return claims["role"] == "authenticated" && r["owner"] != nil && r["owner"] == claims["sub"]
	}
	return memdb.Table{
		Name: "rt_mark",
		Columns: []pgtype.Column{
			{Name: "id", Type: "uuid", Default: func() any { return uuid.NewString() }},
			{Name: "owner", Type: "text"},
			{Name: "seq", Type: "int8", NotNull: true, Default: func() any { return 0 }},
			{Name: "at", Type: "timestamptz", NotNull: true, Default: func() any { return time.Now() }},
		},
		PrimaryKey: []string{"id"},
		Grants:     map[string][]string{"authenticated": {"*"}},
		RLS:        true, Select: own, Insert: own, Update: own, Delete: own,
		BeforeInsert: insertMark, BeforeUpdate: updateMark,
	}
}

// insertMark makes the caller the owner and removes what the same owner has
// left behind.
func insertMark(tx *memdb.FuncTx, fresh memdb.Row) (memdb.Row, error) {
	if sub, ok := tx.Claims()["sub"].(string); ok && fresh["owner"] == nil {
		fresh["owner"] = sub
	}
	marks, err := tx.Select("rt_mark")
	if err != nil {
		return nil, err
	}
	own := 0
	for _, m := range marks {
		if m["owner"] == fresh["owner"] {
			own++
		}
		at, isTime := m["at"].(time.Time)
		if m["owner"] == fresh["owner"] && isTime && time.Since(at) > markAge {
			if _, err := tx.Delete("rt_mark", memdb.Row{"id": m["id"]}); err != nil {
				return nil, err
			}
			own--
		}
	}
	if own >= maxMarks {
		return nil, pgtype.Errorf("54000", "there are %d marks of this owner", maxMarks)
	}
	fresh["seq"], fresh["at"] = int64(0), time.Now()
	return fresh, nil
}

// updateMark counts.
func updateMark(_ *memdb.FuncTx, old, _ memdb.Row) (memdb.Row, error) {
	return memdb.Row{"id": old["id"], "owner": old["owner"], "seq": old["seq"].(int64) + 1, "at": time.Now()}, nil
}

// rtDescribe tells what a table is.
func rtDescribe(c *call) (any, error) {
	type column struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	t := c.table.Describe()
	columns, key := []column{}, t.PrimaryKey
	for i, described := range t.Columns {
		if c.table.CanSelect(i) {
			columns = append(columns, column{described.Name, described.Type})
		} else if slices.Contains(t.PrimaryKey, described.Name) {
			key = []string{}
		}
	}
	identity := map[string]string{"DEFAULT": "d", "FULL": "f", "USING INDEX": "i", "NOTHING": "n"}[t.Identity]
	return map[string]any{
		"version": 1, "schema": t.Schema, "table": t.Name, "key": key, "columns": columns,
		"published": t.Published, "rls": t.RLS, "identity": identity,
	}, nil
}

// rtChunk reads rows and then marks.
func rtChunk(c *call) (any, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	columns, err := c.columns("cols")
	if err != nil {
		return nil, err
	}
	if columns == nil {
		columns = c.table.All()
	}
	columns = slices.Compact(slices.Sorted(slices.Values(append(columns, key...))))
	rows, last, err := c.rows(key, columns)
	if err != nil {
		return nil, err
	}
	page := make([]json.RawMessage, len(rows))
	for i, r := range rows {
		page[i] = r.JSON(columns)
	}
	seq, err := c.mark()
	return map[string]any{"last": listOf(last), "rows": page, "seq": seq}, err
}

// hashedRow is a row as rt_digest and rt_keys have it: its slot follows from
// the key alone, its sum from the key and the version.
type hashedRow struct {
	key       []*string
	slot, sum uint64
}

// hashed returns the rows that a call is about, and are in one of the buckets
// that it asks for.
func (c *call) hashed() (found []hashedRow, last []*string, err error) {
	key, err := c.key()
	if err != nil {
		return nil, nil, err
	}
	version, err := c.columns("version")
	if err != nil {
		return nil, nil, err
	}
	within, err := c.within()
	if err != nil {
		return nil, nil, err
	}
	var seed int64
	if err := c.arg("seed", &seed); err != nil {
		return nil, nil, err
	}
	rows, last, err := c.rows(key, append(slices.Clip(key), version...))
	for _, r := range rows {
		h := hashedRow{key: r.Texts(key)}
		packed := pack(nil, h.key)
		h.slot = pghash.Text(packed, uint64(seed))
		h.sum = pghash.Text(pack(packed, r.Texts(version)), uint64(seed))
		if within(h.slot) {
			found = append(found, h)
		}
	}
	return found, last, err
}

// listOf writes texts as PostgreSQL does, null if there are none.
func listOf(texts []*string) json.RawMessage {
	if texts == nil {
		return json.RawMessage("null")
	}
	b := []byte{'['}
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = pgtype.AppendString(b, *text) // columns of a key are not null
	}
	return append(b, ']')
}

// pack appends texts so that no two lists of them come out alike.
func pack(b []byte, texts []*string) []byte {
	for _, text := range texts {
		if text == nil {
			b = append(b, '-')
			continue
		}
		b = fmt.Appendf(b, "%d:%s", len(*text), *text)
	}
	return b
}

// depth reads an argument that is a number of bits.
func (c *call) depth(arg string, bits *int) (int, error) {
	if err := c.arg(arg, &bits); err != nil {
		return 0, err
	}
	if bits == nil || *bits < 0 || *bits > 31 {
		return 0, pgtype.Errorf(pgtype.CodeBadParameter, "a bucket is of 0 to 31 bits")
	}
	return *bits, nil
}

// within reads which buckets are asked for.
func (c *call) within() (func(slot uint64) bool, error) {
	var buckets []int32
	if err := c.arg("within", &buckets); err != nil {
		return nil, err
	}
	if buckets == nil {
		return func(uint64) bool { return true }, nil
	}
	bits, err := c.depth("within_bits", nil)
	if err != nil {
		return nil, err
	}
	wanted := map[int32]bool{}
	for _, b := range buckets {
		wanted[b] = true
	}
	return func(slot uint64) bool { return wanted[int32(slot>>(64-bits))] }, nil
}

// rtDigest counts and sums the rows of each bucket.
func rtDigest(c *call) (any, error) {
	bits, err := c.depth("bits", new(int))
	if err != nil {
		return nil, err
	}
	rows, last, err := c.hashed()
	if err != nil {
		return nil, err
	}
	counts, sums := map[uint64]int{}, map[uint64]uint64{}
	for _, r := range rows {
		bucket := r.slot >> (64 - bits)
		counts[bucket]++
		sums[bucket] ^= r.sum
	}
	buckets := [][]any{}
	for _, b := range slices.Sorted(maps.Keys(counts)) {
		buckets = append(buckets, []any{b, counts[b], fmt.Sprintf("%016x", sums[b])})
	}
	seq, err := c.mark()
	return map[string]any{"buckets": buckets, "last": listOf(last), "seq": seq}, err
}

// rtKeys lists the keys and sums of the rows in some buckets, by slot.
func rtKeys(c *call) (any, error) {
	rows, last, err := c.hashed()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, func(a, b hashedRow) int { return cmp.Compare(a.slot>>32, b.slot>>32) })
	keys := [][]any{}
	for _, r := range rows {
		keys = append(keys, []any{listOf(r.key), fmt.Sprintf("%016x", r.sum)})
	}
	seq, err := c.mark()
	return map[string]any{"keys": keys, "last": listOf(last), "seq": seq}, err
}

package mockserver

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// InstallCache adds to a Config what the SQL that a table cache uses would add
// to a database: the table rt_mark and the functions rt_describe, rt_chunk,
// rt_digest and rt_keys, in the schema public. Functions of other names that
// cfg has are kept.
func InstallCache(cfg *Config) {
	cfg.Tables = append(slices.Clip(cfg.Tables), markTable())
	functions := maps.Clone(cfg.Functions)
	if functions == nil {
		functions = map[string]Function{}
	}
	functions["rt_describe"] = declared("rt_describe", rtDescribe, "rel")
	functions["rt_chunk"] = declared("rt_chunk", rtChunk, "rel", "key", "cols", "after", "lim", "mark")
	functions["rt_digest"] = declared("rt_digest", rtDigest, "rel", "key", "version", "buckets", "mark")
	functions["rt_keys"] = declared("rt_keys", rtKeys, "rel", "key", "version", "buckets", "wanted", "mark")
	cfg.Functions = functions
}

// markAge is how old a mark is that nobody uses any more.
const markAge = 24 * time.Hour

// markTable is rt_mark: a row for each client that marks positions in the
// stream of changes, and whose number counts the marks in the order of their
// commits.
func markTable() Table {
	own := func(claims Claims, r Row) bool {
		return roleOf(claims) == "authenticated" && r["owner"] != nil && r["owner"] == claims["sub"]
	}
	return Table{
		Name: "rt_mark",
		Columns: []Column{
			{Name: "id", Type: "uuid", Default: func() any { return newUUID() }},
			{Name: "owner", Type: "uuid"},
			{Name: "seq", Type: "int8", NotNull: true, Default: func() any { return 0 }},
			{Name: "at", Type: "timestamptz", NotNull: true, Default: func() any { return time.Now() }},
		},
		PrimaryKey: []string{"id"},
		RLS:        true, Select: own, Insert: own, Update: own, Delete: own,
		BeforeInsert: insertMark, BeforeUpdate: updateMark,
	}
}

// insertMark makes the caller the owner and removes what the same owner has
// left behind.
func insertMark(tx *FuncTx, fresh Row) (Row, error) {
	if sub, ok := tx.Claims()["sub"].(string); ok && fresh["owner"] == nil {
		fresh["owner"] = sub
	}
	marks, err := tx.Select("rt_mark")
	if err != nil {
		return nil, err
	}
	for _, m := range marks {
		at, isTime := m["at"].(time.Time)
		if m["owner"] == fresh["owner"] && isTime && time.Since(at) > markAge {
			if _, err := tx.Delete("rt_mark", Row{"id": m["id"]}); err != nil {
				return nil, err
			}
		}
	}
	return fresh, nil
}

// updateMark counts.
func updateMark(_ *FuncTx, old, _ Row) (Row, error) {
	return Row{"id": old["id"], "owner": old["owner"], "seq": old["seq"].(int64) + 1, "at": time.Now()}, nil
}

// declared makes a function of one that is declared with arguments of these
// names, none of which has a default.
func declared(name string, f func(*cacheCall) (any, error), params ...string) Function {
	return func(tx *FuncTx, args map[string]json.RawMessage) (any, error) {
		c := &cacheCall{tx: tx, args: args}
		for _, param := range params {
			if _, given := args[param]; !given || len(args) != len(params) {
				return nil, noFunction("", name, args)
			}
		}
		if err := c.findTable(); err != nil {
			return nil, err
		}
		return f(c)
	}
}

// cacheCall is a call of one of the functions.
type cacheCall struct {
	tx    *FuncTx
	args  map[string]json.RawMessage
	table *table
}

// arg reads an argument; null leaves v as it is.
func (c *cacheCall) arg(name string, v any) error {
	if err := json.Unmarshal(c.args[name], v); err != nil {
		return errf(codeBadText, "argument %s cannot be read: %v", name, err)
	}
	return nil
}

// findTable reads the argument rel as a regclass: a name with or without a
// schema, either of them perhaps in double quotes, else in lower case.
func (c *cacheCall) findTable() error {
	var rel string
	if err := c.arg("rel", &rel); err != nil {
		return err
	}
	schema, name := "public", ""
	parts := identifiers(rel)
	switch len(parts) {
	case 1:
		name = parts[0]
	case 2:
		schema, name = parts[0], parts[1]
	}
	t, ok := c.tx.tx.db.table(schema, name)
	if !ok {
		return errf(codeUndefinedTable, "relation %q does not exist", rel)
	}
	c.table = t
	return nil
}

// identifiers splits a name at its dots, and reads each part.
func identifiers(s string) (parts []string) {
	for s != "" {
		part, rest := "", ""
		if quoted, ok := strings.CutPrefix(s, `"`); ok {
			part, rest = unquoteIdentifier(quoted)
		} else {
			i := strings.IndexByte(s+".", '.')
			part, rest = strings.ToLower(s[:i]), s[i:]
		}
		parts, s = append(parts, part), strings.TrimPrefix(rest, ".")
	}
	return parts
}

// unquoteIdentifier reads up to the closing quote.
func unquoteIdentifier(s string) (name, rest string) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '"':
			name += s[i : i+1]
		case strings.HasPrefix(s[i:], `""`):
			name += `"`
			i++
		default:
			return name, s[i+1:]
		}
	}
	return name, ""
}

// columns reads an argument that names columns.
func (c *cacheCall) columns(arg string) ([]int, error) {
	var names []string
	if err := c.arg(arg, &names); err != nil {
		return nil, err
	}
	if names == nil {
		return nil, nil
	}
	columns := make([]int, 0, len(names))
	for _, name := range names {
		i, err := c.table.column(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, i)
	}
	return columns, nil
}

// key reads the argument key.
func (c *cacheCall) key() ([]int, error) {
	key, err := c.columns("key")
	if err == nil && len(key) == 0 {
		err = errf(codeBadParameter, "key must name columns")
	}
	return key, err
}

// mark updates the mark, if there is one that the caller may update, and
// returns its number then.
func (c *cacheCall) mark() (any, error) {
	var id *string
	if err := c.arg("mark", &id); err != nil || id == nil {
		return nil, err
	}
	where := Row{"id": *id}
	if n, err := c.tx.Update("rt_mark", Row{"at": time.Now()}, where); err != nil || n == 0 {
		return nil, err
	}
	marks, err := c.tx.tx.find(c.markTable(), where)
	if err != nil || len(marks) == 0 {
		return nil, err
	}
	return marks[0].row[c.markTable().byName["seq"]], nil
}

func (c *cacheCall) markTable() *table {
	t, _ := c.tx.tx.db.table("public", "rt_mark")
	return t
}

// rows returns the rows that the caller sees, in the order of the key.
func (c *cacheCall) rows(key, columns []int) ([]row, error) {
	rows, err := c.tx.tx.selectAs(c.table, columns)
	if err == nil && !slices.Equal(key, c.table.pk) {
		slices.SortStableFunc(rows, func(a, b row) int { return c.table.compareKeys(key, a, b) })
	}
	return rows, err
}

// compareKeys orders two rows by some columns, NULL last.
func (t *table) compareKeys(key []int, a, b row) int {
	for _, i := range key {
		if n := (boundOrder{column: i}).compare(t, a[i], b[i]); n != 0 {
			return n
		}
	}
	return 0
}

// keyText returns the texts of the key of a row.
func (c *cacheCall) keyText(key []int, r row) []string {
	texts := make([]string, len(key))
	for i, column := range key {
		if text := c.text(column, r); text != nil {
			texts[i] = *text
		}
	}
	return texts
}

// text returns to_jsonb(column) #>> '{}'.
func (c *cacheCall) text(column int, r row) *string {
	if r[column] == nil {
		return nil
	}
	raw := jsonbText(c.table.columns[column].typ.json(r[column]))
	s, isString := text(raw)
	switch {
	case string(raw) == "null":
		return nil
	case !isString:
		s = string(raw)
	}
	return &s
}

// rtDescribe tells what a table is.
func rtDescribe(c *cacheCall) (any, error) {
	type column struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	t := c.table
	columns, key := make([]column, len(t.columns)), []string{}
	for i, described := range t.columns {
		columns[i] = column{described.name, described.typ.name()}
	}
	for _, i := range t.pk {
		key = append(key, t.columns[i].name)
	}
	return map[string]any{
		"version": 1, "schema": t.schema, "table": t.name, "key": key, "columns": columns,
		"published": t.published.Load(), "rls": t.rls, "identity": "dfin"[t.identity : t.identity+1],
	}, nil
}

// rtChunk reads a page and then marks.
func rtChunk(c *cacheCall) (any, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	page, err := c.page(key)
	if err != nil {
		return nil, err
	}
	seq, err := c.mark()
	return map[string]any{"rows": page, "seq": seq}, err
}

// page reads the rows behind the key after.
func (c *cacheCall) page(key []int) ([]json.RawMessage, error) {
	columns, err := c.columns("cols")
	if err != nil {
		return nil, err
	}
	if columns == nil {
		columns, _ = c.table.columnsNamed(nil)
	}
	columns = slices.Compact(slices.Sorted(slices.Values(append(columns, key...))))
	after, err := c.after(key)
	if err != nil {
		return nil, err
	}
	var limit *int
	if err := c.arg("lim", &limit); err != nil {
		return nil, err
	}
	if limit != nil && *limit < 0 {
		return nil, errf("2201W", "LIMIT must not be negative")
	}
	rows, err := c.rows(key, columns)
	page := []json.RawMessage{}
	for _, r := range rows {
		if limit != nil && len(page) >= *limit {
			break
		}
		if after == nil || c.table.compareKeys(key, r, after) > 0 {
			page = append(page, c.object(columns, r))
		}
	}
	return page, err
}

// after reads the argument after: a row that has the key. Nil: there is none.
func (c *cacheCall) after(key []int) (row, error) {
	var texts []string
	if err := c.arg("after", &texts); err != nil || texts == nil {
		return nil, err
	}
	if len(texts) != len(key) {
		return nil, errf(codeBadParameter, "after has %d values and key %d columns", len(texts), len(key))
	}
	after := make(row, len(c.table.columns))
	for i, column := range key {
		var err error
		if after[column], err = c.table.columns[column].typ.parse(texts[i]); err != nil {
			return nil, c.table.badValue(column, err)
		}
	}
	return after, nil
}

// object writes some columns of a row as jsonb.
func (c *cacheCall) object(columns []int, r row) json.RawMessage {
	b := []byte{'{'}
	for n, i := range columns {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, c.table.columns[i].name), ':')
		if r[i] == nil {
			b = append(b, "null"...)
			continue
		}
		b = append(b, jsonbText(c.table.columns[i].typ.json(r[i]))...)
	}
	return append(b, '}')
}

// digested is a row as rt_digest and rt_keys have it.
type digested struct {
	key     []string
	version *string
	bucket  uint32
	sum     uint64
}

// digest reads the rows and sorts them into buckets. A row's bucket follows
// from its key alone, and its sum from the key and the version.
func (c *cacheCall) digest() ([]digested, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	version, err := c.version()
	if err != nil {
		return nil, err
	}
	var buckets int32
	if err := c.arg("buckets", &buckets); err != nil {
		return nil, err
	}
	if buckets <= 0 {
		return nil, errf(codeBadParameter, "buckets must be positive")
	}
	rows, err := c.rows(key, append(slices.Clip(key), version...))
	all := make([]digested, len(rows))
	for i, r := range rows {
		d := digested{key: c.keyText(key, r)}
		versionText := ""
		for _, column := range version {
			if d.version = c.text(column, r); d.version != nil {
				versionText = *d.version
			}
		}
		joined := strings.Join(d.key, "\x1f")
		keySum, rowSum := md5.Sum([]byte(joined)), md5.Sum([]byte(joined+"\x1e"+versionText))
		d.bucket = binary.BigEndian.Uint32(keySum[:]) % uint32(buckets)
		d.sum = binary.BigEndian.Uint64(rowSum[:])
		all[i] = d
	}
	return all, err
}

// version reads the argument version: one column or none.
func (c *cacheCall) version() ([]int, error) {
	var name *string
	if err := c.arg("version", &name); err != nil || name == nil {
		return nil, err
	}
	i, err := c.table.column(*name)
	return []int{i}, err
}

// rtDigest counts and sums the rows of each bucket.
func rtDigest(c *cacheCall) (any, error) {
	rows, err := c.digest()
	if err != nil {
		return nil, err
	}
	counts, sums := map[uint32]int{}, map[uint32]uint64{}
	for _, r := range rows {
		counts[r.bucket]++
		sums[r.bucket] ^= r.sum
	}
	buckets := [][]any{}
	for _, b := range slices.Sorted(maps.Keys(counts)) {
		buckets = append(buckets, []any{b, counts[b], fmt.Sprintf("%016x", sums[b])})
	}
	seq, err := c.mark()
	return map[string]any{"rows": len(rows), "buckets": buckets, "seq": seq}, err
}

// rtKeys lists the keys and versions of the rows in some buckets.
func rtKeys(c *cacheCall) (any, error) {
	rows, err := c.digest()
	if err != nil {
		return nil, err
	}
	var wanted []uint32
	if err := c.arg("wanted", &wanted); err != nil {
		return nil, err
	}
	keys, versions := [][]string{}, []*string{}
	for _, r := range rows {
		if slices.Contains(wanted, r.bucket) {
			keys, versions = append(keys, r.key), append(versions, r.version)
		}
	}
	result := map[string]any{"keys": keys, "versions": versions}
	if !present(c.args["version"]) {
		result["versions"] = nil
	}
	result["seq"], err = c.mark()
	return result, err
}

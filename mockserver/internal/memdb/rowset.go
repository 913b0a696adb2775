package memdb

import (
	"cmp"
	"iter"
	"slices"
	"sort"
)

// entry is a row in its table. Of a table without a primary key, id is what
// the rows are ordered by: it is given at INSERT and kept by UPDATE.
type entry struct {
	id  uint64
	row row
}

// same reports whether both are the same version of the same row.
func (e entry) same(other entry) bool { return &e.row[0] == &other.row[0] }

// rowSet is the content of a table in the order of its primary key. It is
// immutable: a change makes a new set, which shares all but one chunk with the
// old one, so that a snapshot costs nothing and a change of a large table
// little.
type rowSet struct {
	chunks [][]entry // none of them empty
	count  int
}

// chunkSize bounds what one change copies. Chunks of a few hundred rows keep
// both the chunk and the list of chunks of a table of 100,000 rows small.
const chunkSize = 256

// position is a place between rows: before or after all rows whose key begins
// with prefix. The zero position is before all rows.
type position struct {
	prefix []any
	after  bool
}

// order compares the key of a row with a prefix of one, column by column.
func (t *table) order(e entry, prefix []any) int {
	if len(t.pk) == 0 {
		if len(prefix) == 0 {
			return 0
		}
		return cmp.Compare(e.id, prefix[0].(uint64))
	}
	for i, v := range prefix {
		c := t.pk[i]
		if n, _ := t.columns[c].Type.Compare(e.row[c], v); n != 0 {
			return n
		}
	}
	return 0
}

// key returns the primary key of a row, or the id where the table has none.
func (t *table) key(e entry) []any {
	if len(t.pk) == 0 {
		return []any{e.id}
	}
	key := make([]any, len(t.pk))
	for i, c := range t.pk {
		key[i] = e.row[c]
	}
	return key
}

// newRowSet makes a set of entries that are in order.
func newRowSet(sorted []entry) *rowSet {
	s := &rowSet{count: len(sorted)}
	for chunk := range slices.Chunk(sorted, chunkSize) {
		s.chunks = append(s.chunks, slices.Clone(chunk))
	}
	return s
}

// seek returns the chunk and the index in it of the first row behind the
// position; the chunk is len(s.chunks) where there is none.
func (s *rowSet) seek(t *table, p position) (chunk, index int) {
	behind := func(e entry) bool {
		n := t.order(e, p.prefix)
		return n > 0 || n == 0 && !p.after
	}
	chunk = sort.Search(len(s.chunks), func(i int) bool { return behind(s.chunks[i][len(s.chunks[i])-1]) })
	if chunk == len(s.chunks) {
		return chunk, 0
	}
	return chunk, sort.Search(len(s.chunks[chunk]), func(i int) bool { return behind(s.chunks[chunk][i]) })
}

// get returns the row of that key.
func (s *rowSet) get(t *table, key []any) (entry, bool) {
	chunk, i := s.seek(t, position{prefix: key})
	if chunk == len(s.chunks) || t.order(s.chunks[chunk][i], key) != 0 {
		return entry{}, false
	}
	return s.chunks[chunk][i], true
}

// between yields the rows from one position to another in order, or in the
// opposite order.
func (s *rowSet) between(t *table, from, to position, backward bool) iter.Seq[entry] {
	if backward {
		return s.backward(t, from, to)
	}
	return s.forward(t, from, to)
}

func (s *rowSet) forward(t *table, from, to position) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		chunk, i := s.seek(t, from)
		lastChunk, last := s.seek(t, to)
		for ; chunk < len(s.chunks) && chunk <= lastChunk; chunk, i = chunk+1, 0 {
			rows := s.chunks[chunk]
			if chunk == lastChunk {
				rows = rows[:last]
			}
			for ; i < len(rows); i++ {
				if !yield(rows[i]) {
					return
				}
			}
		}
	}
}

func (s *rowSet) backward(t *table, from, to position) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		firstChunk, first := s.seek(t, from)
		chunk, i := s.seek(t, to)
		for chunk > firstChunk || chunk == firstChunk && i > first {
			if i == 0 {
				chunk--
				i = len(s.chunks[chunk])
				continue
			}
			i--
			if !yield(s.chunks[chunk][i]) {
				return
			}
		}
	}
}

// all yields every row in order.
func (s *rowSet) all(t *table) iter.Seq[entry] {
	return s.forward(t, position{}, position{after: true})
}

// with returns the set with the entry added, or put in the place of the one
// with the same key.
func (s *rowSet) with(t *table, e entry) *rowSet {
	chunk, i := s.seek(t, position{prefix: t.key(e)})
	if chunk == len(s.chunks) {
		return s.appended(e)
	}
	old := s.chunks[chunk]
	if t.order(old[i], t.key(e)) == 0 {
		changed := slices.Clone(old)
		changed[i] = e
		return s.spliced(chunk, s.count, changed)
	}
	grown := make([]entry, 0, len(old)+1)
	grown = append(append(append(grown, old[:i]...), e), old[i:]...)
	if len(grown) <= chunkSize {
		return s.spliced(chunk, s.count+1, grown)
	}
	half := len(grown) / 2
	return s.spliced(chunk, s.count+1, grown[:half:half], grown[half:])
}

// appended adds an entry behind all others. Full chunks are left full, since
// most keys grow.
func (s *rowSet) appended(e entry) *rowSet {
	last := len(s.chunks) - 1
	if last < 0 || len(s.chunks[last]) >= chunkSize {
		return &rowSet{chunks: append(slices.Clip(s.chunks), []entry{e}), count: s.count + 1}
	}
	return s.spliced(last, s.count+1, append(slices.Clip(s.chunks[last]), e))
}

// without returns the set without the row of that key.
func (s *rowSet) without(t *table, key []any) *rowSet {
	chunk, i := s.seek(t, position{prefix: key})
	if chunk == len(s.chunks) || t.order(s.chunks[chunk][i], key) != 0 {
		return s
	}
	if len(s.chunks[chunk]) == 1 {
		return s.spliced(chunk, s.count-1)
	}
	return s.spliced(chunk, s.count-1, slices.Delete(slices.Clone(s.chunks[chunk]), i, i+1))
}

// spliced returns the set with others in the place of one chunk.
func (s *rowSet) spliced(chunk, count int, others ...[]entry) *rowSet {
	chunks := make([][]entry, 0, len(s.chunks)+1)
	chunks = append(append(append(chunks, s.chunks[:chunk]...), others...), s.chunks[chunk+1:]...)
	return &rowSet{chunks: chunks, count: count}
}

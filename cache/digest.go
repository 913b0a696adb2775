package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/cache/sql"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/postgrest"
)

// askDatabase asks the functions of package sql what the table is. It reports
// false if they are not there.
func (s *source[K, T]) askDatabase(ctx context.Context) (known bool, err error) {
	var d struct {
		Version   int
		Key       []string
		Columns   []cdc.Column
		Published bool
		RLS       bool
	}
	switch err := s.api.Call(ctx, "rt_describe", map[string]any{"rel": s.rel()}, &d); {
	case isMissing(err), err == nil && d.Version < sql.Version:
		return false, nil
	case err != nil:
		return false, err
	case !d.Published:
		return false, &TableError{Schema: s.schema, Table: s.api.Name, Err: errNotPublished}
	}
	s.columns = d.Columns
	s.facts = facts{level3: true, rls: d.RLS, noRLS: !d.RLS}
	return true, s.checkKey(d.Key, true)
}

var errNotPublished = errors.New("it is not in the publication supabase_realtime with inserts, updates and deletes, so that nobody tells of its changes")

// isMissing reports whether a function is not there.
func isMissing(err error) bool {
	var e *postgrest.Error
	return errors.As(err, &e) && e.Code == "PGRST202"
}

// rel is the table as SQL names it.
func (s *source[K, T]) rel() string {
	quote := func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
	return quote(s.schema) + "." + quote(s.api.Name)
}

// args are what all calls about the rows have.
func (s *source[K, T]) args(more map[string]any) map[string]any {
	args := map[string]any{"rel": s.rel(), "key": s.api.Key}
	if len(s.conditions) > 0 {
		args["filter"] = s.conditions
	}
	for name, value := range more {
		args[name] = value
	}
	return args
}

// chunk is a page that has a mark behind it in one transaction.
func (s *source[K, T]) chunk(ctx context.Context, after []string, n int, mark string) (page[K, T], error) {
	for {
		p, err := s.chunkOf(ctx, after, n, mark)
		if err == nil || !smallerPage(err) || n == 1 {
			return p, err
		}
		n = max(n/4, 1)
	}
}

func (s *source[K, T]) chunkOf(ctx context.Context, after []string, n int, mark string) (p page[K, T], err error) {
	args := s.args(map[string]any{"lim": n, "mark": mark})
	if after != nil {
		args["after"] = after
	}
	if len(s.api.Columns) > 0 {
		args["cols"] = s.api.Columns
	}
	var got struct {
		Rows []json.RawMessage
		Last []string
		Seq  *int64
	}
	if err := s.api.Call(ctx, "rt_chunk", args, &got); err != nil {
		return p, err
	}
	raw := make([]postgrest.Row, len(got.Rows))
	for i, row := range got.Rows {
		raw[i].JSON = row
		if raw[i].Key, err = s.api.KeyOf(row); err != nil {
			return p, err
		}
	}
	p.rows, p.keys, err = s.decode(raw)
	p.last, p.total = got.Last, -1
	if got.Seq != nil {
		p.seq = *got.Seq
	}
	return p, err
}

const (
	digestBits = 10      // of the buckets that are asked for first
	deeperBits = 5       // more, of those that differ
	fewRows    = 64      // in a bucket that is not divided any more
	digestRows = 100_000 // that one call reads, for the sake of statement timeouts
	manyWanted = 2000    // buckets in one call
)

// sums is what a bucket has: rows, and their sums by exclusive or.
type sums struct {
	rows int
	sum  uint64
}

// digest asks for the sums of buckets of some bits, of all rows or of those
// within buckets of fewer bits.
func (s *source[K, T]) digest(ctx context.Context, version []string, bits, withinBits int, within []uint32) (map[uint32]sums, error) {
	all := map[uint32]sums{}
	args := s.args(map[string]any{"version": version, "bits": bits, "lim": digestRows})
	if within != nil {
		args["within_bits"], args["within"] = withinBits, within
	}
	for {
		var got struct {
			Buckets [][3]json.RawMessage
			Last    []string
		}
		if err := s.api.Call(ctx, "rt_digest", args, &got); err != nil {
			return nil, err
		}
		for _, b := range got.Buckets {
			n, have, err := readBucket(b)
			if err != nil {
				return nil, s.disagree("%v", err)
			}
			have.rows, have.sum = have.rows+all[n].rows, have.sum^all[n].sum
			all[n] = have
		}
		if got.Last == nil {
			return all, nil
		}
		args["after"] = got.Last
	}
}

func readBucket(b [3]json.RawMessage) (n uint32, have sums, err error) {
	var text string
	if err := errors.Join(json.Unmarshal(b[0], &n), json.Unmarshal(b[1], &have.rows), json.Unmarshal(b[2], &text)); err != nil {
		return n, have, fmt.Errorf("a digest that cannot be read: %w", err)
	}
	have.sum, err = strconv.ParseUint(text, 16, 64)
	return n, have, err
}

// keySum is a key with the sum of its row.
type keySum struct {
	key []string
	sum uint64
}

// keySums lists the keys in some buckets.
func (s *source[K, T]) keySums(ctx context.Context, version []string, bits int, within []uint32) (list []keySum, err error) {
	args := s.args(map[string]any{"version": version, "within_bits": bits, "within": within, "lim": digestRows})
	for {
		var got struct {
			Keys [][2]json.RawMessage
			Last []string
		}
		if err := s.api.Call(ctx, "rt_keys", args, &got); err != nil {
			return nil, err
		}
		for _, pair := range got.Keys {
			var k keySum
			var text string
			if err := errors.Join(json.Unmarshal(pair[0], &k.key), json.Unmarshal(pair[1], &text)); err != nil {
				return nil, s.disagree("a list of keys that cannot be read: %v", err)
			}
			if k.sum, err = strconv.ParseUint(text, 16, 64); err != nil {
				return nil, s.disagree("a list of keys that cannot be read: %v", err)
			}
			list = append(list, k)
		}
		if got.Last == nil {
			return list, nil
		}
		args["after"] = got.Last
	}
}

// checkDigest finds the rows that differ by sums over buckets: those of few
// rows that differ are listed by key, and what seems to differ there is read. A
// row that changes meanwhile may seem to, and is read for nothing.
func (t *Table[K, T]) checkDigest(ctx context.Context, do how) (f found, err error) {
	var within []uint32 // nil: all
	withinBits, bits := 0, digestBits
	for {
		var theirs map[uint32]sums
		for _, some := range chunks(within) {
			err := t.again(ctx, func() error {
				part, err := t.source.digest(ctx, t.version.columns, bits, withinBits, some)
				theirs = merged(theirs, part)
				return err
			})
			if err != nil {
				return f, err
			}
		}
		var view View[K, T]
		if err := t.atMark(ctx, 0, func() { t.publish(); view = t.View() }); err != nil {
			return f, err
		}
		differ, largest, err := t.differingBuckets(view, theirs, bits, withinBits, within)
		switch {
		case err != nil || len(differ) == 0:
			return f, err
		case largest <= fewRows || bits+deeperBits > 31:
			return t.checkBuckets(ctx, do, bits, differ)
		}
		within, withinBits, bits = differ, bits, bits+deeperBits
	}
}

// chunks divides buckets among calls; nil, which is all of them, is one.
func chunks(within []uint32) [][]uint32 {
	if within == nil {
		return [][]uint32{nil}
	}
	return slices.Collect(slices.Chunk(within, manyWanted))
}

func merged(all, part map[uint32]sums) map[uint32]sums {
	if all == nil {
		return part
	}
	for n, s := range part {
		all[n] = s // of other buckets
	}
	return all
}

// differingBuckets compares the sums with those of a view. It returns the
// buckets that differ and how many rows the largest of them has.
func (t *Table[K, T]) differingBuckets(view View[K, T], theirs map[uint32]sums, bits, withinBits int, within []uint32) (differ []uint32, largest int, err error) {
	ours, err := t.digestOf(view, bits, withinBits, within)
	if err != nil {
		return nil, 0, err
	}
	for n, s := range theirs {
		if ours[n] != s {
			differ = append(differ, n)
			largest = max(largest, s.rows, ours[n].rows)
		}
	}
	for n, s := range ours {
		if _, there := theirs[n]; !there {
			differ = append(differ, n)
			largest = max(largest, s.rows)
		}
	}
	slices.Sort(differ)
	return differ, largest, nil
}

// digestOf is what rt_digest makes of the rows of a view.
func (t *Table[K, T]) digestOf(view View[K, T], bits, withinBits int, within []uint32) (map[uint32]sums, error) {
	wanted := bucketSet(within)
	all := map[uint32]sums{}
	for k, row := range view.All() {
		key, err := t.source.codec.Encode(k)
		if err != nil {
			return nil, t.source.disagree("%v", err)
		}
		slot := sql.Slot(key)
		if wanted != nil && !wanted[slot>>(32-withinBits)] {
			continue
		}
		n := slot >> (32 - bits)
		s := all[n]
		s.rows, s.sum = s.rows+1, s.sum^sql.Sum(key, t.version.texts(row))
		all[n] = s
	}
	return all, nil
}

func bucketSet(within []uint32) map[uint32]bool {
	if within == nil {
		return nil
	}
	set := make(map[uint32]bool, len(within))
	for _, n := range within {
		set[n] = true
	}
	return set
}

// checkBuckets compares some buckets key by key.
func (t *Table[K, T]) checkBuckets(ctx context.Context, do how, bits int, buckets []uint32) (f found, err error) {
	theirs := map[string]keySum{}
	for _, some := range chunks(buckets) {
		err := t.again(ctx, func() error {
			list, err := t.source.keySums(ctx, t.version.columns, bits, some)
			for _, k := range list {
				theirs[joined(k.key)] = k
			}
			return err
		})
		if err != nil {
			return f, err
		}
	}
	var view View[K, T]
	if err := t.atMark(ctx, 0, func() { t.publish(); view = t.View() }); err != nil {
		return f, err
	}
	differ, err := t.differingKeys(view, bits, bucketSet(buckets), theirs)
	if err != nil {
		return f, err
	}
	if f, err = t.reread(ctx, differ, do, f); err != nil {
		return f, err
	}
	return t.readMissing(ctx, theirs, do, f)
}

// differingKeys returns the keys of a view, within some buckets, that the table
// lacks or has with another sum. What is left in theirs then, the cache lacks.
func (t *Table[K, T]) differingKeys(view View[K, T], bits int, wanted map[uint32]bool, theirs map[string]keySum) (differ []K, err error) {
	for k, row := range view.All() {
		key, err := t.source.codec.Encode(k)
		if err != nil {
			return nil, t.source.disagree("%v", err)
		}
		if !wanted[sql.Slot(key)>>(32-bits)] {
			continue
		}
		name := joined(key)
		if other, there := theirs[name]; !there || other.sum != sql.Sum(key, t.version.texts(row)) {
			differ = append(differ, k)
		}
		delete(theirs, name)
	}
	return differ, nil
}

// joined makes one string of a key.
func joined(key []string) string {
	var s strings.Builder
	for _, text := range key {
		fmt.Fprintf(&s, "%d:%s", len(text), text)
	}
	return s.String()
}

// readMissing reads rows that the cache lacks.
func (t *Table[K, T]) readMissing(ctx context.Context, keys map[string]keySum, do how, f found) (found, error) {
	texts := make([][]string, 0, len(keys))
	for _, k := range keys {
		texts = append(texts, k.key)
	}
	for some := range slices.Chunk(texts, maxDoubtful) {
		var p page[K, T]
		rd, err := t.reading(ctx, func() (err error) {
			p, err = t.source.byTexts(ctx, some)
			return err
		})
		if err != nil {
			return f, err
		}
		err = t.atMark(ctx, 0, func() { f.add(t.core.merge(rd, p.keys, p.rows, do)) })
		if rd.over.Store(true); err != nil {
			return f, err
		}
	}
	return f, nil
}

package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
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
	s.facts = facts{level3: true, noRLS: !d.RLS}
	if err := s.checkFilter(); err != nil {
		return false, err
	}
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
		var p page[K, T]
		err := s.asking(func(api *postgrest.Table) (err error) { p, err = s.chunkOf(ctx, api, after, n, mark); return err })
		if err == nil || !smallerPage(err) || n == 1 {
			return p, err
		}
		n = max(n/4, 1)
	}
}

func (s *source[K, T]) chunkOf(ctx context.Context, api *postgrest.Table, after []string, n int, mark string) (p page[K, T], err error) {
	args := s.args(map[string]any{"lim": n, "mark": mark})
	if after != nil {
		args["after"] = after
	}
	if len(api.Columns) > 0 {
		args["cols"] = api.Columns
	}
	var got struct {
		Rows json.RawMessage
		Last []string
		Seq  *int64
	}
	if err := s.api.Call(ctx, "rt_chunk", args, &got); err != nil {
		return p, err
	}
	raw, err := s.api.SplitRows(got.Rows)
	if err != nil {
		return p, err
	}
	p.rows, err = s.decode(raw)
	p.last, p.total, p.asked, p.bytes = got.Last, -1, n, int64(len(got.Rows))
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

// division is how rows are divided into buckets: by the first bits of a hash of
// their key, with a seed of its own for each check, so that two rows which hash
// alike do so once. Only the rows within some buckets of fewer bits count.
type division struct {
	seed       int64
	bits       int
	withinBits int
	within     []uint32 // sorted; nil: all
}

// bucket returns the bucket of a key.
func (d *division) bucket(key []string) (n uint32, ok bool) {
	slot := sql.Slot(d.seed, key)
	if d.within != nil {
		if _, ok := slices.BinarySearch(d.within, uint32(slot>>(64-d.withinBits))); !ok {
			return 0, false
		}
	}
	return uint32(slot >> (64 - d.bits)), true
}

// deeper divides the buckets that differ.
func (d *division) deeper(differ []uint32) division {
	return division{seed: d.seed, bits: min(d.bits+deeperBits, 31), withinBits: d.bits, within: differ}
}

// parts divides the buckets within among calls.
func (d *division) parts() (parts []division) {
	if d.within == nil {
		return []division{*d}
	}
	for some := range slices.Chunk(d.within, manyWanted) {
		part := *d
		part.within = some
		parts = append(parts, part)
	}
	return parts
}

// digest asks for the sums of buckets.
func (s *source[K, T]) digest(ctx context.Context, d division, version []string) (map[uint32]sums, error) {
	all := map[uint32]sums{}
	args := s.args(map[string]any{"version": version, "seed": d.seed, "bits": d.bits, "lim": digestRows})
	if d.within != nil {
		args["within_bits"], args["within"] = d.withinBits, d.within
	}
	for read := (pages{}); ; {
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
		if err := read.read(got.Last); err != nil {
			return nil, err
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

// keySums lists the keys within the buckets of a division.
func (s *source[K, T]) keySums(ctx context.Context, d division, version []string) (list []keySum, err error) {
	args := s.args(map[string]any{"version": version, "seed": d.seed, "within_bits": d.withinBits, "within": d.within, "lim": digestRows})
	for read := (pages{}); ; {
		var got struct {
			Keys [][2]json.RawMessage
			Last []string
		}
		if err := s.api.Call(ctx, "rt_keys", args, &got); err != nil {
			return nil, err
		}
		for _, pair := range got.Keys {
			k, err := readKeySum(pair)
			if err != nil {
				return nil, s.disagree("a list of keys that cannot be read: %v", err)
			}
			list = append(list, k)
		}
		if got.Last == nil {
			return list, nil
		}
		if err := read.read(got.Last); err != nil {
			return nil, err
		}
		args["after"] = got.Last
	}
}

func readKeySum(pair [2]json.RawMessage) (k keySum, err error) {
	var text string
	if err := errors.Join(json.Unmarshal(pair[0], &k.key), json.Unmarshal(pair[1], &text)); err != nil {
		return k, err
	}
	k.sum, err = strconv.ParseUint(text, 16, 64)
	return k, err
}

// checkDigest finds the rows that differ by sums over buckets: those of few
// rows that differ are listed by key, and what seems to differ there is read. A
// row that changes meanwhile may seem to, and is read for nothing.
func (t *Table[K, T]) checkDigest(ctx context.Context, do how) (f found, err error) {
	d := division{seed: rand.Int64(), bits: digestBits}
	for {
		theirs := map[uint32]sums{}
		for _, part := range d.parts() {
			if err := t.fromTheStart(ctx, func() error {
				return t.again(ctx, ofRows, func() error {
					sums, err := t.source.digest(ctx, part, t.version.columns)
					maps.Copy(theirs, sums)
					return err
				})
			}); err != nil {
				return f, err
			}
		}
		view, err := t.viewAtMark(ctx)
		if err != nil {
			return f, err
		}
		ours, err := t.digestOf(view, &d)
		if err != nil {
			return f, err
		}
		differ, largest := differing(ours, theirs)
		switch deeper := d.deeper(differ); {
		case len(differ) == 0:
			return f, nil
		case largest <= fewRows || d.bits == deeper.bits:
			return t.checkBuckets(ctx, do, deeper)
		default:
			d = deeper
		}
	}
}

// viewAtMark is the content when the stream has come to where the table is.
func (t *Table[K, T]) viewAtMark(ctx context.Context) (view View[K, T], err error) {
	err = t.passing(ctx, 0, func() {
		t.publish()
		view = t.View()
	})
	return view, err
}

// differing returns the buckets that differ, sorted, and how many rows the
// largest of them has.
func differing(ours, theirs map[uint32]sums) (differ []uint32, largest int) {
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
	return differ, largest
}

// digestOf is what rt_digest makes of the rows of a view.
func (t *Table[K, T]) digestOf(view View[K, T], d *division) (map[uint32]sums, error) {
	all := map[uint32]sums{}
	for k, row := range view.All() {
		key, err := t.source.codec.Encode(k)
		if err != nil {
			return nil, t.source.disagree("%v", err)
		}
		if n, ok := d.bucket(key); ok {
			s := all[n]
			s.rows, s.sum = s.rows+1, s.sum^sql.Sum(d.seed, key, t.version.texts(row))
			all[n] = s
		}
	}
	return all, nil
}

// checkBuckets compares the buckets within a division key by key.
func (t *Table[K, T]) checkBuckets(ctx context.Context, do how, d division) (f found, err error) {
	theirs := map[string]keySum{}
	for _, part := range d.parts() {
		if err := t.fromTheStart(ctx, func() error {
			return t.again(ctx, ofRows, func() error {
				list, err := t.source.keySums(ctx, part, t.version.columns)
				for _, k := range list {
					theirs[postgrest.KeyText(k.key)] = k
				}
				return err
			})
		}); err != nil {
			return f, err
		}
	}
	view, err := t.viewAtMark(ctx)
	if err != nil {
		return f, err
	}
	differ, err := t.differingKeys(view, &d, theirs)
	if err != nil {
		return f, err
	}
	if f, err = t.readKeys(ctx, differ, do); err != nil {
		return f, err
	}
	return t.readMissing(ctx, theirs, do, f)
}

// differingKeys returns the keys of a view, within a division, that the table
// lacks or has with another sum. What is left in theirs then, the cache lacks.
func (t *Table[K, T]) differingKeys(view View[K, T], d *division, theirs map[string]keySum) (differ []K, err error) {
	for k, row := range view.All() {
		key, err := t.source.codec.Encode(k)
		if err != nil {
			return nil, t.source.disagree("%v", err)
		}
		if _, ok := d.bucket(key); !ok {
			continue
		}
		name := postgrest.KeyText(key)
		if other, there := theirs[name]; !there || other.sum != sql.Sum(d.seed, key, t.version.texts(row)) {
			differ = append(differ, k)
		}
		delete(theirs, name)
	}
	return differ, nil
}

// readMissing reads rows that the cache lacks.
func (t *Table[K, T]) readMissing(ctx context.Context, keys map[string]keySum, do how, f found) (found, error) {
	texts := make([][]string, 0, len(keys))
	for _, k := range keys {
		texts = append(texts, k.key)
	}
	for some := range slices.Chunk(texts, maxDoubtful) {
		var p page[K, T]
		rd, err := t.reading(ctx, nil, func() (err error) {
			p, err = t.source.byTexts(ctx, some)
			return err
		})
		if err != nil {
			return f, err
		}
		err = t.passing(ctx, 0, func() { f.add(t.core.merge(rd, p.rows, do)) })
		if rd.over.Store(true); err != nil {
			return f, err
		}
	}
	return f, nil
}

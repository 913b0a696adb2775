package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/postgrest"
	"github.com/gapless-go/gapless/internal/rescue"
	"github.com/gapless-go/gapless/realtime"
)

// source reads the table over the project's REST API (PostgREST). open makes
// it usable.
type source[K comparable, T any] struct {
	api     postgrest.Table
	schema  string
	key     func(T) K
	codec   *postgrest.KeyCodec[K]
	columns []cdc.Column        // with their types, as the database describes them
	labels  map[string][]string // of their enums
	shape   *shape
	facts   facts
	filter  cdc.Filter
	part    bool // some columns alone are read
	misfits Misfit

	conditions []cdc.Condition // of the filter
	received   *counter        // bytes of answers
}

// facts are what the database says of the table; the zero value if nobody can
// tell.
type facts struct {
	level3 bool // the functions of package sql are there
	noRLS  bool // known to be off
}

// page is some rows of a table, in the order of its primary key.
type page[K comparable, T any] struct {
	rows  []shown[K, T]
	last  []string // the key of the last row, as text; nil: the end
	total int      // of the rows, in a first page; -1: unknown
	seq   int64    // of the mark that was written with it; 0: none was
	asked int      // how many rows were asked for
	bytes int64    // that the rows took
}

// pageBytes is how large a page is to be at most, roughly.
const pageBytes = 8 << 20

// next is how many rows to ask for behind the page: as many as are about
// pageBytes, but no more than most, and than twice as many as could be read.
func (p *page[K, T]) next(most int) int {
	n := min(2*p.asked, most)
	if p.bytes > 0 {
		n = min(n, int(pageBytes*int64(len(p.rows))/p.bytes))
	}
	return max(n, 1)
}

func newSource[K comparable, T any](client *realtime.Client, table string, o options, key func(T) K) (source[K, T], error) {
	filter, err := o.filter.Query()
	if err != nil {
		return source[K, T]{}, err
	}
	conditions, err := o.filter.Conditions()
	received := &counter{client: client}
	s := source[K, T]{shape: newShape[T](), schema: o.schema, key: key, filter: o.filter, conditions: conditions, misfits: o.misfits, received: received, api: postgrest.Table{
		Client: received, Schema: o.schema, Name: table, Columns: o.columns, Filter: filter, Total: true}}
	if len(o.columns) > 0 {
		s.shape.required = nil
	}
	switch {
	case err != nil:
	case len(o.primaryKey) > 0:
		err = s.setKey(o.primaryKey)
	default:
		if of := postgrest.CheckKeyType[K](); of != nil {
			err = s.disagree("%v", of)
		}
	}
	return s, err
}

// setKey makes the columns of the key known.
func (s *source[K, T]) setKey(columns []string) (err error) {
	s.api.Key = columns
	if s.codec, err = postgrest.NewKeyCodec[K](columns); err != nil {
		return s.disagree("%v", err)
	}
	return nil
}

// open finds out what the table is, and holds the options against it.
func (s *source[K, T]) open(ctx context.Context, marked bool) error {
	if marked {
		if known, err := s.askDatabase(ctx); known || err != nil {
			return err
		}
	}
	d, err := s.api.Describe(ctx)
	switch {
	case errors.Is(err, postgrest.ErrNotDescribed):
		if s.codec == nil {
			return s.setKey([]string{"id"})
		}
		return nil
	case err != nil:
		return err
	}
	s.columns, s.labels = nil, map[string][]string{}
	for _, c := range d.Columns {
		s.columns = append(s.columns, cdc.SQLColumn(c.Name, c.Type))
		s.labels[c.Name] = c.Labels
	}
	if err := s.checkFilter(); err != nil {
		return err
	}
	return s.checkKey(d.Key, false)
}

// checkFilter refuses a filter on which the stream would stop for everybody.
func (s *source[K, T]) checkFilter() error {
	filter, err := s.filter.For(s.api.Name, s.columns)
	if err != nil {
		return &TableError{Schema: s.schema, Table: s.api.Name, Err: err}
	}
	s.filter = filter
	return nil
}

// checkKey holds the primary key that the table has against the one that was
// asked for. ordered says that it is in the order of its index, in which it is
// best read.
func (s *source[K, T]) checkKey(has []string, ordered bool) error {
	asked := s.api.Key
	switch {
	case len(has) == 0 && len(asked) == 0:
		return s.disagree("the table has none: a cache needs one, or WithPrimaryKey for a view")
	case len(has) == 0:
		return nil // of a view nobody can tell
	case len(asked) == 0:
		return s.setKey(has)
	case !slices.Equal(slices.Sorted(slices.Values(has)), slices.Sorted(slices.Values(asked))):
		return s.disagree("the table's is (%s)", strings.Join(has, ", "))
	case ordered:
		return s.setKey(has)
	}
	return nil
}

// page reads at most n rows behind a key; behind none from the beginning. If
// the database can, it writes a mark behind the reading in the same
// transaction.
func (s *source[K, T]) page(ctx context.Context, after []string, n int, mark string) (page[K, T], error) {
	if mark != "" && s.facts.level3 {
		return s.chunk(ctx, after, n, mark)
	}
	var p postgrest.Page
	read := func(api *postgrest.Table) (err error) { p, err = api.Page(ctx, after, n); return err }
	err := s.asking(read)
	for ; err != nil && smallerPage(err) && n > 1; err = s.asking(read) {
		n = max(n/4, 1)
	}
	if err != nil {
		return page[K, T]{}, err
	}
	rows, err := s.decode(p.Rows)
	return page[K, T]{rows: rows, last: p.Last, total: p.Total, asked: n, bytes: p.Bytes}, err
}

// byKeys reads rows by their keys. Those that are not there, or that the role
// may not see, are not in the result.
func (s *source[K, T]) byKeys(ctx context.Context, keys []K) (page[K, T], error) {
	texts := make([][]string, len(keys))
	for i, k := range keys {
		var err error
		if texts[i], err = s.codec.Encode(k); err != nil {
			return page[K, T]{}, s.disagree("%v", err)
		}
	}
	return s.byTexts(ctx, texts)
}

func (s *source[K, T]) byTexts(ctx context.Context, texts [][]string) (page[K, T], error) {
	var p postgrest.Page
	err := s.asking(func(api *postgrest.Table) (err error) { p, err = api.ByKeys(ctx, texts); return err })
	if err != nil {
		return page[K, T]{}, err
	}
	rows, err := s.decode(p.Rows)
	return page[K, T]{rows: rows}, err
}

// decode decodes rows, and holds the key function against their primary key: two
// rows of one key would be one in the cache, in silence.
func (s *source[K, T]) decode(raw []postgrest.Row) (rows []shown[K, T], err error) {
	err = rescue.Do("decoding rows of "+s.schema+"."+s.api.Name, func() (err error) { rows, err = s.decodeRows(raw); return err })
	return rows, err
}

func (s *source[K, T]) decodeRows(raw []postgrest.Row) ([]shown[K, T], error) {
	rows := make([]shown[K, T], len(raw))
	var misfit error
	misfits := 0
	if len(raw) > 0 && !s.part { // the others of an answer are of the same shape
		if err := s.sawRow(raw[0].JSON); err != nil {
			return nil, err
		}
	}
	c := cdc.Change{Op: cdc.Insert, Schema: s.schema, Table: s.api.Name, Columns: s.shape.columns()}
	for i := range raw {
		c.Record = raw[i].JSON
		event, err := cdc.As[T](c, cdc.AnyColumns)
		if err == nil {
			rows[i] = shown[K, T]{key: s.key(event.New), row: event.New, raw: raw[i].JSON}
		} else if rows[i], err = s.misfit(c, err); err != nil {
			return nil, err
		} else {
			misfit, misfits = rows[i].err.Err, misfits+1
		}
		if !s.codec.Check(&rows[i].key, raw[i].Key) {
			return nil, s.disagree("the key function makes %v of a row whose key is (%s)", rows[i].key, strings.Join(raw[i].Key, ", "))
		}
	}
	if misfits < len(raw) {
		s.shape.fits.Store(true)
	} else if misfits > 1 && !s.shape.fits.Load() { // that is no fault of the rows
		return nil, misfit
	}
	return rows, nil
}

// row makes a row of its columns, some of which the stream has brought and some a
// read.
func (s *source[K, T]) row(columns []cdc.Column, record json.RawMessage) (row T, err error) {
	event, err := cdc.As[T](cdc.Change{Op: cdc.Insert, Schema: s.schema, Table: s.api.Name, Columns: columns, Record: record})
	return event.New, err
}

func (s *source[K, T]) disagree(format string, args ...any) error {
	return &KeyError{Schema: s.schema, Table: s.api.Name, Columns: s.api.Key, Reason: fmt.Sprintf(format, args...)}
}

// fail names the table in an error that is not one of those that do.
func (s *source[K, T]) fail(err error) error {
	var key *KeyError
	var table *TableError
	var decode *cdc.DecodeError
	if errors.As(err, &key) || errors.As(err, &table) || errors.As(err, &decode) {
		return err
	}
	return &TableError{Schema: s.schema, Table: s.api.Name, Err: err}
}

// narrow is the source for keys and some columns alone.
func (s *source[K, T]) narrow(columns []string) *source[K, T] {
	n := *s
	n.part = true
	n.api.Columns = append(slices.Clone(s.api.Key), columns...)
	return &n
}

// counter counts what answers have brought.
type counter struct {
	client postgrest.Doer
	bytes  atomic.Int64
}

// Do makes a request.
func (c *counter) Do(r *http.Request) (*http.Response, error) {
	answer, err := c.client.Do(r)
	if err == nil {
		answer.Body = &countedBody{answer.Body, c}
	}
	return answer, err
}

type countedBody struct {
	io.ReadCloser
	to *counter
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.to.bytes.Add(int64(n))
	return n, err
}

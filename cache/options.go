package cache

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
)

// Option is a choice about a Table.
type Option func(*options) error

type options struct {
	schema      string
	primaryKey  []string // empty: the table's
	columns     []string
	filter      cdc.Filter
	topic       string
	channel     []channel.Option
	pageSize    int
	settle      time.Duration
	settleSet   bool // by WithSettle
	marker      *Marker
	canary      time.Duration
	markTimeout time.Duration
	version     []string
	verifyEvery time.Duration
	verifyBy    Check
	keep        time.Duration
	perKey      int
	maxRows     struct {
		limit int
		full  Overflow
	}
	checkpoint Checkpoint
	saveEvery  time.Duration
	misfits    Misfit
	hooks      Hooks
	log        *slog.Logger
	told       bool // hooks or log are set
}

func defaults() options {
	return options{schema: "public", pageSize: 1000, settle: 2 * time.Second,
		canary: 15 * time.Second, markTimeout: 20 * time.Second, saveEvery: time.Minute}
}

// waitToLoad is how long the reading of the table waits until all that was committed
// before can be seen. A mark that was acknowledged is behind it in the log, so
// that it can be, unless the database is set up as WithSettle says.
func (o *options) waitToLoad(first bool) time.Duration {
	if first && o.marker != nil && !o.settleSet {
		return 0
	}
	return o.settle
}

// narrowed reports whether rows may come into the cache's part of the table, or
// leave it, without an insert or a delete.
func (o *options) narrowed() bool { return !o.filter.IsZero() || o.maxRows.full == Evict }

// WithSchema names the schema of the table. Default: public.
func WithSchema(name string) Option {
	return func(o *options) error { o.schema = name; return notEmpty("schema", name) }
}

// WithPrimaryKey names the columns of the table's primary key, in any order.
// Without it, it is what the project says of the table; a project that does not
// tell the client's role is taken to have the column id.
func WithPrimaryKey(columns ...string) Option {
	return func(o *options) error {
		o.primaryKey = columns
		return notEmpty("primary key", columns...)
	}
}

// WithColumns has only these columns read and streamed. Those of the primary
// key always are. Default: all that the role may read.
func WithColumns(columns ...string) Option {
	return func(o *options) error { o.columns = columns; return notEmpty("columns", columns...) }
}

// WithFilter has only the rows that meet the filter in the cache. The server
// does not tell of a row that an UPDATE takes out of the filter, nor, if the
// filter is on other columns than those of the replica identity, of a DELETE:
// such rows stay in the cache until they are found by Verify or the next load.
// Where the types of the columns can be learnt, Run refuses a filter that would
// stop the changes of every subscriber of the project: a *TableError with a
// *[cdc.ColumnError].
func WithFilter(f cdc.Filter) Option {
	return func(o *options) error { o.filter = f; return f.Err() }
}

// WithChannel names the topic of the channel that the changes come by, and says
// how to join it, such as channel.Private. Every Table needs a topic of its
// own. Default: a public channel with a topic of the table's name and some
// random letters. Up to 131,072 changes may wait, of 64 MiB, so that a large
// transaction is no gap; channel.WithQueue sets another bound.
func WithChannel(topic string, opts ...channel.Option) Option {
	return func(o *options) error {
		o.topic, o.channel = topic, opts
		return notEmpty("topic", topic)
	}
}

// WithPageSize is how many rows a page of the load asks for. The server may
// have a lower limit of its own. Default 1000.
func WithPageSize(rows int) Option {
	return func(o *options) error { o.pageSize = rows; return atLeast("a page of rows", rows, 1) }
}

// WithSettle is how long a transaction may be in the database's log, and so in
// the stream, before a reader of the table sees it. It is usually far less than
// a millisecond; with synchronous replication, it is as long as a commit waits
// for the standby. Default 2 s. With a Marker the first load waits for it only if
// it is set: set it where some transactions wait for a standby and marks do not.
func WithSettle(d time.Duration) Option {
	return func(o *options) error {
		o.settle, o.settleSet = d, true
		return atLeast("a settle time", d, 0)
	}
}

// WithMarker makes the Table exact: see the package's documentation. Tables of
// one client may share a Marker.
func WithMarker(m *Marker) Option {
	return func(o *options) error {
		o.marker = m
		if m == nil {
			return fmt.Errorf("cache: WithMarker(nil)")
		}
		return nil
	}
}

// WithCanary has a mark written when none has come for so long, though nothing
// waits for one; Tables of one Marker share them. A mark that is not there timeout
// after it was written, while nothing comes that is older, shows that changes do
// not come either: that is a gap at most every+timeout after the stream went
// silent, and the channel is joined anew; while that does not help, the timeout
// doubles, up to 16 times. A number that is left out is a gap at once. A loss that
// lies between two marks and spares both is not seen: one of a slot that the server
// drops, with what a poll of over 15 s had found, is longer than the default. Each
// mark costs an update, and a change for each Table.
// Default: 15 s, and a timeout of 20 s. It needs WithMarker.
func WithCanary(every, timeout time.Duration) Option {
	return func(o *options) error {
		o.canary, o.markTimeout = every, timeout
		if err := atLeast("a canary every", every, 100*time.Millisecond); err != nil {
			return err
		}
		return atLeast("a canary's timeout", timeout, 100*time.Millisecond)
	}
}

// WithVersion names columns that change whenever a row does, and that never have a
// value twice for one key: a number that a trigger takes from a sequence
// (nextval), or a time that it sets to clock_timestamp(). These are not safe: now(),
// which is when the transaction began; a number that is counted up in each row,
// which begins at 1 again for a row that is deleted and inserted, so that the old
// row and the new one look the same. If the Table sees that happen, it reads
// whole rows from then on, and Status.VersionErr says so; behind a gap it cannot
// see it. T must have fields for them. See ByKeys and ByDigest.
func WithVersion(columns ...string) Option {
	return func(o *options) error { o.version = columns; return notEmpty("version", columns...) }
}

// WithVerify has the cache verified and repaired every d, so that no divergence
// lives for longer than that. Default: never. Without a choice of check it is
// that of Table.Verify.
func WithVerify(d time.Duration, check ...Check) Option {
	return func(o *options) error {
		o.verifyEvery, o.verifyBy = d, checkUnset
		if len(check) > 0 {
			o.verifyBy = check[0]
		}
		return atLeast("a verification every", d, time.Second)
	}
}

// checkUnset is the best check, which is not known yet.
const checkUnset Check = 255

// WithHistory keeps what rows were, for AsOf: versions that were replaced up to
// keep ago, by the database's clock, and of each row no more than perKey,
// the present one included.
func WithHistory(keep time.Duration, perKey int) Option {
	return func(o *options) error {
		o.keep, o.perKey = keep, perKey
		if err := atLeast("a history of", keep, time.Millisecond); err != nil {
			return err
		}
		return atLeast("versions per key", perKey, 2)
	}
}

// WithMaxRows bounds the cache. When there are more rows, Fail ends Run with
// ErrTooManyRows, and Evict removes rows that were not read lately: then the
// cache holds a part of the table, Get does not find the others, and Fetch
// does. Default: no bound.
func WithMaxRows(n int, full Overflow) Option {
	return func(o *options) error {
		o.maxRows.limit, o.maxRows.full = n, full
		if full != Fail && full != Evict {
			return fmt.Errorf("cache: WithMaxRows knows Fail and Evict")
		}
		return atLeast("rows", n, 1)
	}
}

// WithMisfits says what becomes of a row that does not fit into T. Default:
// SetAside. Whatever it says, Run ends with the error if the first rows that are
// read are several and none fits, and for a row whose key does not fit.
func WithMisfits(m Misfit) Option {
	return func(o *options) error {
		o.misfits = m
		if m > EndRun {
			return fmt.Errorf("cache: WithMisfits knows SetAside, KeepOld and EndRun")
		}
		return nil
	}
}

// WithCheckpoint has the rows saved every so often, and when Run ends, and read
// back when a Table of the same project, user, table, options and T is run: it
// then serves them, in the phase Stale, as soon as the client has a token, which
// says whose rows they are, and reads from the table what has changed.
// T must come out of encoding/json as it went in; Status.CheckpointErr tells if
// it does not, or if saving fails. every 0 is a minute.
func WithCheckpoint(c Checkpoint, every time.Duration) Option {
	return func(o *options) error {
		o.checkpoint = c
		if every != 0 {
			o.saveEvery = every
		}
		if c == nil {
			return fmt.Errorf("cache: WithCheckpoint(nil)")
		}
		return atLeast("a checkpoint every", o.saveEvery, 100*time.Millisecond)
	}
}

func notEmpty(what string, names ...string) error {
	if len(names) == 0 {
		return fmt.Errorf("cache: no %s", what)
	}
	for _, name := range names {
		if name == "" {
			return fmt.Errorf("cache: an empty name in %s", what)
		}
	}
	return nil
}

func atLeast[N int | time.Duration](what string, n, least N) error {
	if n < least {
		return fmt.Errorf("cache: %s: %v is less than %v", what, n, least)
	}
	return nil
}

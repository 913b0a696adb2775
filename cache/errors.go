package cache

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gapless-go/gapless/internal/postgrest"
)

var (
	// ErrOverflow ends a feed whose consumer fell further behind than Buffered
	// allows. Begin another one, with WithInitial.
	ErrOverflow = errors.New("cache: the feed's buffer is full")
	// ErrRunning is the error of a second Run of one Table, at the same time or
	// later, and of an index or history that is added after the first.
	ErrRunning = errors.New("cache: the table has been run already")
	// ErrNotRunning is the error of those who wait for a Table that nobody runs.
	ErrNotRunning = errors.New("cache: nobody runs the table: call Run, in a goroutine of its own")
	// ErrNoMarker is the error of what needs a Marker, see WithMarker, for a
	// Table without one, or for Tables with different ones.
	ErrNoMarker = errors.New("cache: this needs tables with one marker, see WithMarker")
	// ErrTooManyRows ends Run when the table has more rows than WithMaxRows
	// allows.
	ErrTooManyRows = errors.New("cache: the table has more rows than are allowed")

	errStopped   = errors.New("cache: the feed is not iterated any more")
	errComplete  = errors.New("cache: the table is complete") // of a computed one, which ends its feeds
	errEpochOver = errors.New("cache: changes may have been lost since the read began")
	errRejoin    = errors.New("cache: the channel has to be joined anew")
	errRepeated  = errors.New("cache: the server has sent a page again that was read before, so that reading the table never ends")
	errVersion   = errors.New("a row that was deleted and inserted again has a version that is not above its old one: the columns of WithVersion must never have a value twice, as those of a sequence or of clock_timestamp()")
	errMarkGone  = errors.New("cache: the row of the marker is gone")
)

// KeyError says that the key function, or the type of its result, and the
// table's primary key disagree.
type KeyError struct {
	Schema, Table string
	Columns       []string // of the primary key
	Reason        string
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("cache: table %s.%s, primary key (%s): %s", e.Schema, e.Table, strings.Join(e.Columns, ", "), e.Reason)
}

// TableError says why a table cannot be followed, or not be read.
type TableError struct {
	Schema, Table string
	Err           error
}

func (e *TableError) Error() string {
	return fmt.Sprintf("cache: table %s.%s: %v", e.Schema, e.Table, e.Err)
}

func (e *TableError) Unwrap() error { return e.Err }

// RequestError is a request to the project's REST API that failed: the server's
// answer, or, in Err, the reason for which there is none. Temporary tells
// whether another try has a chance.
type RequestError = postgrest.Error

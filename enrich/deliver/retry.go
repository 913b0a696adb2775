package deliver

import (
	"errors"
	"time"

	"github.com/gapless-go/gapless/internal/rescue"
)

// Retry says how often an effect that fails is tried. Between two tries is a
// random time of up to Min, twice that, and so on up to Max; see Later.
type Retry struct {
	// Attempts is how many tries there are before the value is buried. 0: 10. A
	// *StoreError, such as a lost connection, does not count, and neither do the
	// first 100 tries that end in a conflict of transactions (an SQLSTATE of class
	// 40: a serialization failure or a deadlock).
	Attempts int
	Min, Max time.Duration // 0: 100 ms and 1 minute
	// Temporary, if set, reports errors that say nothing against the value, such as
	// that of a service that is down: they are tried again for ever and do not
	// count.
	Temporary func(error) bool
}

func (r Retry) filled() Retry {
	if r.Attempts == 0 {
		r.Attempts = 10
	}
	if r.Min == 0 {
		r.Min = 100 * time.Millisecond
	}
	if r.Max == 0 {
		r.Max = time.Minute
	}
	return r
}

// Permanent marks an error that no other try changes: the value is buried at
// once.
func Permanent(err error) error { return &permanent{err} }

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// Later marks an error of an attempt behind which there is to be no other for d,
// such as that of a service that says so (Retry-After). The pause is the longer
// one of d and that of Retry. Of several that are joined, the longest counts.
func Later(err error, d time.Duration) error { return &later{err, d} }

type later struct {
	err   error
	pause time.Duration
}

func (l *later) Error() string { return l.err.Error() }
func (l *later) Unwrap() error { return l.err }

// least is the pause that an error asks for.
func least(err error) (d time.Duration) {
	switch e := err.(type) {
	case *later:
		return max(e.pause, least(e.err))
	case interface{ Unwrap() error }:
		return least(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			d = max(d, least(err))
		}
	}
	return d
}

// verdict is what is done about an attempt that failed.
type verdict uint8

const (
	again   verdict = iota // and it counts
	waiting                // it does not count
	giveUp
)

// maxConflicts is after how many tries a conflict counts as an attempt: one that
// is there each time is the effect's own.
const maxConflicts = 100

// judge decides about an error of an attempt, which is the nth that counts, behind
// so many tries.
func (r Retry) judge(err error, nth, tries int) verdict {
	var store *StoreError
	var final *permanent
	switch {
	case errors.As(err, &final):
		return giveUp
	case errors.As(err, &store), sqlClass(err) == "40" && tries < maxConflicts, r.temporary(err):
		return waiting
	case nth >= r.Attempts:
		return giveUp
	}
	return again
}

// temporary asks the user's function. One that panics says nothing.
func (r Retry) temporary(err error) (yes bool) {
	if r.Temporary != nil {
		_ = rescue.Do("a Retry's Temporary", func() error { yes = r.Temporary(err); return nil })
	}
	return yes
}

// PanicError is a panic of a function that was given to a Consumer. That of a
// handler is a failed attempt like any other.
type PanicError = rescue.Error

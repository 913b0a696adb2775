package deliver

import (
	"errors"
	"fmt"
	"time"
)

// Retry says how often an effect that fails is tried. Between two tries is a
// random time of up to Min, twice that, and so on up to Max; see Later.
type Retry struct {
	// Attempts is how many tries there are before the value is buried. 0: 10.
	Attempts int
	Min, Max time.Duration // 0: 100 ms and 1 minute
	// Temporary, if set, tells errors that say nothing against the value, such as
	// a service that is down: they are tried again for ever and do not count.
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

// judge decides about an error of an attempt, which is the nth that counts.
func (r Retry) judge(err error, nth int) verdict {
	var store *StoreError
	var final *permanent
	switch {
	case errors.As(err, &final):
		return giveUp
	case errors.As(err, &store), r.Temporary != nil && r.Temporary(err):
		return waiting
	case nth >= r.Attempts:
		return giveUp
	}
	return again
}

// PanicError is an effect that panicked: a failed attempt like any other.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("deliver: the effect panicked: %v", e.Value) }

package deliver

import (
	"errors"
	"fmt"
	"time"
)

// Retry says how often an effect that fails is tried. Between two tries is a
// random time of up to Min, twice that, and so on up to Max.
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

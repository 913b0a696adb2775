// Package rescue turns a panic into an error, at the door of the owner of a
// goroutine and around user code, so that no panic ends the user's process.
package rescue

import (
	"fmt"
	"runtime/debug"

	"github.com/gapless-go/gapless/internal/text"
)

// maxValue bounds the text of a panic's value in an error.
const maxValue = 500

// Error is a panic that was recovered.
type Error struct {
	Where string // what panicked: a goroutine of this module, or a function of the user's
	Value any    // what was given to panic
	Stack []byte // of the goroutine, as runtime/debug.Stack formats it
}

// Error returns where it happened and the value, without the stack.
func (e *Error) Error() string {
	return fmt.Sprintf("panic in %s: %s", e.Where, text.Clean(fmt.Sprint(e.Value), maxValue))
}

// Unwrap returns the value if it is an error.
func (e *Error) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Do calls f and returns its error, or an *Error if f panics. runtime.Goexit
// passes through.
func Do(where string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Error{Where: where, Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

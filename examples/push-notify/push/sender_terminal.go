package push

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// Terminal is a Sender that prints.
type Terminal struct {
	mu  sync.Mutex
	out io.Writer
}

// NewTerminal makes a Sender that prints a line for each notification.
func NewTerminal(out io.Writer) *Terminal { return &Terminal{out: out} }

// Send prints. Text from the table is quoted where it could move the cursor.
func (t *Terminal) Send(_ context.Context, d Device, n Notification) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := fmt.Fprintf(t.out, "%s  %-10s %s  (%s)\n", n.At.Local().Format("15:04:05"), printable(d.Address), printable(n.Body), n.Key)
	return err
}

func printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

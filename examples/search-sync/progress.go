package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/gapless-go/gapless/examples/internal/again"
)

const barWidth = 30

// showProgress shows how far the first reading of the table is, until the index
// has it or ctx ends: one line that is written anew on a terminal, otherwise a
// line a second.
func showProgress(ctx context.Context, out io.Writer, status func() Status) error {
	start := time.Now()
	terminal, every := isTerminal(out), time.Second
	if terminal {
		every = 100 * time.Millisecond
	}
	for {
		now := status()
		switch {
		case now.Filled:
			if terminal {
				fmt.Fprint(out, "\r\x1b[K") // back to the start of the line, and clear it
			}
			fmt.Fprintf(out, "snapshot: %d rows in %.1f s\n", now.Rows, time.Since(start).Seconds())
			return nil
		case now.Total == 0: // not begun
		case terminal:
			full := barWidth * now.Loaded / now.Total
			fmt.Fprintf(out, "\rsnapshot %s%s %d of %d rows", strings.Repeat("█", full), strings.Repeat("░", barWidth-full), now.Loaded, now.Total)
		default:
			fmt.Fprintf(out, "snapshot: %d of %d rows\n", now.Loaded, now.Total)
		}
		if err := again.Sleep(ctx, every); err != nil {
			return err
		}
	}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/examples/internal/again"
	"github.com/gapless-go/gapless/mockserver"
)

// checkOptions are what check is told.
type checkOptions struct {
	settings
	log *slog.Logger

	// For tests:
	server mockserver.Config
	sink   Sink // in place of the one that the settings name
	calm   bool // make no faults
}

const (
	checkRate     = 200 // changes a second
	checkFaults   = 12
	checkCanary   = time.Second
	checkPatience = 90 * time.Second // longer than a channel waits for its subscription to be confirmed, a minute
	lookAgain     = 50 * time.Millisecond
	maxReported   = 20 // differences
)

// checking is a check under way.
type checking struct {
	checkOptions
	demo   *demo
	writer *writer
	gaps   []string // the reasons of all that were noted, the oldest first
	warm   string   // what the second follower began with
}

// check makes changes and faults for a while, and in the middle of that ends
// the cache and the index and begins again with what they have kept. Then it
// waits until the index has caught up, and compares it with the table. It prints
// what happened. Its error is nil only if nothing differs.
func check(ctx context.Context, out io.Writer, o checkOptions) (err error) {
	// A client renews a token 5 s before it expires: here during the check.
	o.server.TokenLifetime, o.server.Timing = 8*time.Second, mockserver.Fast()
	if o.seed == 0 {
		o.seed = 1 + rand.Uint64N(1e6)
	}
	fmt.Fprintf(out, "checking with         -seed %d\n", o.seed)
	c := &checking{checkOptions: o}
	if c.demo, err = newDemo(o.server, o.maxRows); err != nil {
		return err
	}
	defer c.demo.server.Close()
	if c.dir, err = os.MkdirTemp("", "search-sync-check-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.dir)
	c.project, c.settle, c.writer = c.demo.project(), 0, c.demo.newWriter()
	c.project.Canary = checkCanary

	disturbing, stop := context.WithCancel(ctx)
	disturbed := make(chan error, 1)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	err = c.follow(ctx, func(ctx context.Context, f *follower) error {
		if err := inStep(ctx, f); err != nil {
			return err
		}
		running.Go(func() { disturbed <- c.disturb(disturbing) })
		err := again.Sleep(ctx, c.runFor/2)
		c.noteGaps(f)
		return err
	})
	if err != nil {
		return err
	}
	return c.follow(ctx, func(ctx context.Context, f *follower) error {
		if until(ctx, checkPatience, time.Millisecond, func() bool { return f.table.Len() > 0 && f.table.Phase() != cache.Joining }) {
			c.warm = fmt.Sprintf("%d rows, %v", f.table.Len(), f.table.Phase())
		}
		if err := <-disturbed; err != nil {
			return err
		}
		found, err := c.catchUp(ctx, f)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.report(ctx, out, f, found, err)
	})
}

// follow runs a follower for as long as do takes. do's context ends early, with
// the reason for its cause, if the follower fails.
func (c *checking) follow(ctx context.Context, do func(context.Context, *follower) error) error {
	f, err := follow(ctx, c.settings, c.sink, c.log)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, end := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer end(nil)
	running.Go(func() { end(f.Run(ctx)) })
	err = do(ctx, f)
	if ctx.Err() != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return err
}

// noteGaps notes the gaps of a follower at its end.
func (c *checking) noteGaps(f *follower) {
	for _, g := range slices.Backward(f.sync.Status().Gaps) {
		c.gaps = append(c.gaps, g.Reason)
	}
}

// inStep waits until the cache is in step with the table.
func inStep(ctx context.Context, f *follower) error {
	patience, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if err := f.table.WaitSynced(patience); err != nil {
		return fmt.Errorf("the table was not read within %v: %w", checkPatience, err)
	}
	return nil
}

// until looks again and again until it is so, and reports whether it came to
// be within d.
func until(ctx context.Context, d, every time.Duration, so func() bool) bool {
	for deadline := time.Now().Add(d); !so(); {
		if time.Now().After(deadline) || again.Sleep(ctx, every) != nil {
			return false
		}
	}
	return true
}

// disturb makes changes for a while, and faults.
func (c *checking) disturb(ctx context.Context) error {
	var schedule []mockserver.ScheduledFault
	if !c.calm {
		var err error
		if schedule, err = mockserver.RandomFaults(c.seed, checkFaults, c.runFor); err != nil {
			return err
		}
	}
	writing, stop := context.WithTimeout(ctx, c.runFor)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	failed := make(chan error, 1)
	running.Go(func() {
		err := c.writer.Run(writing, checkRate)
		if writing.Err() != nil {
			err = nil
		}
		failed <- err
	})
	if err := c.demo.server.Play(ctx, schedule); err != nil {
		stop()
		return err
	}
	return <-failed
}

// catchUp ends the faults that are in force still, and waits until the cache
// has all that happened before. Nobody can see a single change that the server
// lost and whose neighbours came: such are found by a verification, which the
// report is of. Then it adds a row: since changes come in order, the index has
// all before when it has that.
func (c *checking) catchUp(ctx context.Context, f *follower) (found cache.Report, err error) {
	c.demo.server.Heal()
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if err = f.table.CatchUp(ctx); err == nil {
		found, err = f.table.Verify(ctx, true)
	}
	if err != nil {
		return found, fmt.Errorf("the cache has not caught up within %v: %w", checkPatience, err)
	}
	id := strconv.FormatInt(c.writer.newID(), 10)
	err = c.demo.server.Insert(demoTable, mockserver.Row{
		"id": id, "package": "search-sync", "name": "CaughtUp", "kind": "var", "signature": "var CaughtUp bool", "views": 0,
	})
	if err == nil && !until(ctx, checkPatience, lookAgain, func() bool {
		return slices.ContainsFunc(f.sync.Status().Recent, func(r Recent) bool { return r.ID == id })
	}) {
		err = fmt.Errorf("the index has not caught up within %v", checkPatience)
	}
	return found, err
}

// report compares the index with the table and prints what happened. late is
// why the index has not caught up.
func (c *checking) report(ctx context.Context, out io.Writer, f *follower, found cache.Report, late error) error {
	rows, err := c.demo.server.Rows(demoTable)
	if err != nil {
		return err
	}
	differences, err := compare(rows, f.sync.Sink.All(ctx))
	if err != nil {
		return err
	}
	now := f.sync.Status()
	c.noteGaps(f)
	for _, line := range []struct {
		what  string
		value any
	}{
		{"rows in the table", len(rows)},
		{"statements written", c.writer.Done},
		{"gaps", fmt.Sprintf("%d (%s)", len(c.gaps), strings.Join(c.gaps, ", "))},
		{"served at the restart", c.warm},
		{"written since", now.Written + now.Removed},
		{"repaired at the end", found.Differences()},
		{"differences", len(differences)},
	} {
		fmt.Fprintf(out, "%-21s %v\n", line.what, line.value)
	}
	for i, difference := range differences {
		if i == maxReported {
			fmt.Fprintf(out, "  and %d more\n", len(differences)-i)
			break
		}
		fmt.Fprintln(out, " ", difference)
	}
	if len(differences) > 0 {
		return errors.Join(late, errors.New("the index is not equal to the table"))
	}
	return late
}

// compare returns what differs between the table and the index, field by
// field. It reads the table's own values, and not the REST API as a Sync does,
// so as not to share its mistakes.
func compare(rows []mockserver.Row, index iter.Seq2[Document, error]) ([]string, error) {
	documents := map[string]Document{}
	for d, err := range index {
		if err != nil {
			return nil, err
		}
		documents[d.ID] = d
	}
	var differences []string
	for _, r := range rows {
		id := fmt.Sprint(r["id"])
		d, there := documents[id]
		delete(documents, id)
		if !there {
			differences = append(differences, fmt.Sprintf("row %s is not in the index", id))
			continue
		}
		for column, want := range r {
			if got := d.Fields[column]; column != "id" && !same(want, got) {
				differences = append(differences, fmt.Sprintf("row %s: %s is %v in the table and %v in the index", id, column, want, got))
			}
		}
	}
	for id := range documents {
		differences = append(differences, fmt.Sprintf("document %s is not in the table", id))
	}
	slices.Sort(differences)
	return differences, nil
}

// same compares a value of the table with one of the index.
func same(want, got any) bool {
	switch want := want.(type) {
	case int64:
		return got == json.Number(strconv.FormatInt(want, 10))
	case json.Number:
		n, ok := got.(json.Number)
		return ok && canonicalNumber(string(want)) == canonicalNumber(string(n))
	case time.Time:
		text, _ := got.(string)
		t, err := time.Parse(time.RFC3339Nano, text)
		return err == nil && t.Equal(want)
	}
	return want == got // nil or a string
}

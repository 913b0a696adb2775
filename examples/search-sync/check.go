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
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver"
)

// checkOptions are what check is told.
type checkOptions struct {
	settings
	log    *slog.Logger
	faults []func(*mockserver.Server)

	// For tests:
	server mockserver.Config
	sink   Sink        // in place of the one that the settings name
	tamper func(*Sync) // makes the sync wrong
}

const (
	checkRate     = 200 // changes a second
	checkPatience = 30 * time.Second
	lookAgain     = 50 * time.Millisecond
	maxReported   = 20 // differences
)

// check runs the demo for a while, breaks its connections, waits until the
// index has caught up and compares it with the table. It prints what happened.
// Its error is nil only if nothing differs.
func check(ctx context.Context, out io.Writer, o checkOptions) error {
	// A client renews a token 5 s before it expires: here during the check.
	o.server.TokenLifetime, o.server.Timing = 8*time.Second, mockserver.Fast()
	d, err := newDemo(o.server, o.maxRows)
	if err != nil {
		return err
	}
	defer d.server.Close()
	o.project, o.settle = d.project(), 0
	f, err := follow(o.settings, o.log)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.sync.Sink = o.sink; o.sink == nil {
		if err := f.open(ctx, o.settings); err != nil {
			return err
		}
	}
	if o.tamper != nil {
		o.tamper(f.sync)
	}
	ctx, end := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer end(nil)
	running.Go(func() { end(f.sync.Run(ctx)) })

	if !until(ctx, checkPatience, func() bool { return f.sync.Status().Readings > 0 }) {
		return cmp.Or(context.Cause(ctx), fmt.Errorf("the table was not read within %v: %v", checkPatience, f.channel.Status()))
	}
	w := d.newWriter()
	if err := disturb(ctx, o, d.server, w); err != nil {
		return err
	}
	late := w.catchUp(ctx, f.sync)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return report(ctx, out, d, f.sync, w, late)
}

// until looks again and again until it is so, and reports whether it came to
// be within d.
func until(ctx context.Context, d time.Duration, so func() bool) bool {
	for deadline := time.Now().Add(d); !so(); {
		if time.Now().After(deadline) || sleep(ctx, lookAgain) != nil {
			return false
		}
	}
	return true
}

// faults are the ways in which a connection ends, and the one in which changes
// are lost while it lasts.
var faults = []func(*mockserver.Server){
	(*mockserver.Server).KillSockets,
	func(s *mockserver.Server) { s.CloseChannels("Server is shutting down") },
	(*mockserver.Server).Resubscribe,
	(*mockserver.Server).CrashChannels,
	(*mockserver.Server).Drain,
}

// disturb makes changes for a while, and every fault in that time.
func disturb(ctx context.Context, o checkOptions, server *mockserver.Server, w *writer) error {
	pause := o.runFor / time.Duration(len(o.faults)+1)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(writing, checkRate); writing.Err() == nil {
			fail(err)
		}
	})
	err := sleep(ctx, pause)
	for i := 0; i < len(o.faults) && err == nil; i++ {
		o.faults[i](server)
		err = sleep(ctx, pause)
	}
	stop()
	running.Wait()
	if err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// catchUp changes a row until the sync has applied such a change from the
// stream. Since that is in order, the index then has everything before it. To
// find the row in the index would not do: a reading of the table may have put
// it there, ahead of older changes that wait in the queue.
func (w *writer) catchUp(ctx context.Context, s *Sync) error {
	id := w.newID()
	err := w.send(ctx, http.MethodPost, nil, map[string]any{
		"id": id, "package": "search-sync", "name": "CaughtUp", "kind": "var", "signature": "var CaughtUp bool", "views": 0,
	})
	applied := func() bool {
		now := s.Status()
		return now.Pending == 0 && slices.ContainsFunc(now.Recent, func(r Recent) bool { return r.ID == strconv.FormatInt(id, 10) })
	}
	for deadline := time.Now().Add(checkPatience); err == nil && time.Now().Before(deadline); {
		if until(ctx, time.Second, applied) {
			return nil
		}
		err = w.send(ctx, http.MethodPatch, byID(id), map[string]any{"updated_at": time.Now()})
	}
	return cmp.Or(err, fmt.Errorf("the index has not caught up within %v", checkPatience))
}

// report compares the index with the table and prints what happened.
func report(ctx context.Context, out io.Writer, d *demo, s *Sync, w *writer, late error) error {
	rows, err := d.server.Rows(demoTable)
	if err != nil {
		return err
	}
	differences, err := compare(rows, s.Sink.All(ctx))
	if err != nil {
		return err
	}
	now := s.Status()
	var reasons []string
	for _, g := range slices.Backward(now.Gaps) {
		reasons = append(reasons, g.Reason)
	}
	fmt.Fprintf(out, "rows in the table     %d\n", len(rows))
	fmt.Fprintf(out, "statements written    %d\n", w.Done)
	fmt.Fprintf(out, "changes applied       %d\n", now.Applied)
	fmt.Fprintf(out, "gaps                  %d (%s)\n", now.GapCount, strings.Join(reasons, ", "))
	fmt.Fprintf(out, "readings of the table %d\n", now.Readings)
	fmt.Fprintf(out, "differences           %d\n", len(differences))
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

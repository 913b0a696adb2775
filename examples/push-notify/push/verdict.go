package push

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/mockserver"
)

// verdict is what the ledger shows beside the tables.
type verdict struct {
	events, old int
	due, told   int
	again       []string // sent twice, and not because of the crash
	repeated    int      // sent twice because of the crash, under the same key
	missing     []string
	unwanted    []string // too old, or of another customer
	disordered  []string

	arrivals, heard int // due to devices by broadcast, and told: lost ones are lost
}

func (c *checking) verdict() (v verdict, err error) {
	events, err := c.demo.Server.Rows("order_events")
	if err != nil {
		return v, err
	}
	devices, err := c.demo.Server.Rows("devices")
	if err != nil {
		return v, err
	}
	orders, err := c.demo.Server.Rows("orders")
	if err != nil {
		return v, err
	}
	c.sent.mu.Lock()
	defer c.sent.mu.Unlock()
	v.events = len(events)
	due := map[int64][]string{}
	for _, e := range events {
		if e["status"] == "forgotten" {
			v.old++
			continue
		}
		customer := e["customer_id"].(int64)
		due[customer] = append(due[customer], fmt.Sprintf("event-%d", e["id"]))
	}
	arrived := map[int64][]string{}
	for _, o := range orders {
		if slices.Contains(statuses[arriving:], o["status"].(string)) {
			customer := o["customer_id"].(int64)
			arrived[customer] = append(arrived[customer], Event{OrderID: o["id"].(int64), Status: statuses[arriving]}.title())
		}
	}
	for _, d := range devices {
		v.device(d, due[d["customer_id"].(int64)], c.sent)
		v.broadcasts(d, arrived[d["customer_id"].(int64)], c.sent)
	}
	return v, nil
}

// device compares what a device was to be told, in order, with what it was told.
func (v *verdict) device(d mockserver.Row, due []string, sent *ledger) {
	id := d["id"].(int64)
	told := sent.told[id]
	v.due += len(due)
	v.told += len(told)
	place := map[string]int{}
	for i, key := range due {
		place[key] = i
	}
	count, last := map[string]int{}, -1
	for _, key := range told {
		name := fmt.Sprintf("%s/%d", key, id)
		count[key]++
		at, wanted := place[key]
		switch {
		case !wanted:
			v.unwanted = append(v.unwanted, name)
			continue
		case count[key] > 2, count[key] == 2 && !sent.crashed[name]:
			v.again = append(v.again, name)
		case count[key] == 2:
			v.repeated++
		}
		if at < last {
			v.disordered = append(v.disordered, name)
		}
		last = max(last, at)
	}
	for _, key := range due {
		if count[key] == 0 {
			v.missing = append(v.missing, fmt.Sprintf("%s/%d", key, id))
		}
	}
}

// broadcasts looks at what a device was told of what was broadcast: once at most.
func (v *verdict) broadcasts(d mockserver.Row, due []string, sent *ledger) {
	id := d["id"].(int64)
	count := map[string]int{}
	for _, title := range sent.live[id] {
		name := fmt.Sprintf("%q/%d", title, id)
		switch count[title]++; {
		case !slices.Contains(due, title):
			v.unwanted = append(v.unwanted, name)
		case count[title] > 1:
			v.again = append(v.again, name)
		}
	}
	v.arrivals += len(due)
	v.heard += len(count)
}

// report prints what happened.
func (c *checking) report(out io.Writer) error {
	v, err := c.verdict()
	if err != nil {
		return err
	}
	var kinds []string
	for _, f := range c.faults {
		kinds = append(kinds, f.Name)
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	fmt.Fprintf(out, "events                 %d, of which %d too old\n", v.events, v.old)
	fmt.Fprintf(out, "notifications due      %d\n", v.due)
	fmt.Fprintf(out, "sent                   %d, behind %d tries that failed\n", v.told, c.retried)
	fmt.Fprintf(out, "restarts               %d, one of them behind a crash, and %d of services that a fault ended\n", c.restarts, c.fell)
	fmt.Fprintf(out, "faults                 %d (seed %d): %s\n", len(c.faults), c.Seed, strings.Join(kinds, ", "))
	fmt.Fprintf(out, "slow commits           %d\n", c.slow)
	fmt.Fprintf(out, "broadcasts             %d of %d told, the others were lost\n", v.heard, v.arrivals)
	fmt.Fprintf(out, "repeated by the crash  %d, under the keys that they had\n", v.repeated)
	bad := 0
	for _, list := range []struct {
		what string
		keys []string
	}{{"missing", v.missing}, {"sent twice", v.again}, {"out of order", v.disordered}, {"not wanted", v.unwanted}} {
		bad += len(list.keys)
		fmt.Fprintf(out, "%-22s %d %s\n", list.what, len(list.keys), strings.Join(list.keys[:min(len(list.keys), 5)], " "))
	}
	if bad > 0 {
		return errors.New("not every device was told once and in order")
	}
	if v.due == 0 || v.old == 0 || v.repeated == 0 || v.heard == 0 || c.slow == 0 || c.restarts <= crashed {
		return errors.New("nothing was shown: too little happened")
	}
	return nil
}

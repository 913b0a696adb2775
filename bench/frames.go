package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gobwas/ws"
)

const (
	topic     = "realtime:shop"
	bindingID = 106243155        // of the first table; those of the others follow
	firstID   = 9007199254740993 // the first integer that a float64 does not hold
	firstSent = 1764028960877000001
)

// stream is the changes that a server sends, no two of them alike, each as it
// goes over the socket.
type stream struct {
	wire   []byte
	ends   []int // where in wire each frame ends
	sentAt []int // where in wire the digits of sent_at are; 0: a DELETE has none
}

func newStream(events int) *stream {
	s := &stream{}
	for i := range events {
		text, sent := changeAt(i).frame()
		frame := ws.MustCompileFrame(ws.NewTextFrame([]byte(text)))
		at := 0
		if sent > 0 {
			at = len(s.wire) + len(frame) - len(text) + sent
		}
		s.wire = append(s.wire, frame...)
		s.ends = append(s.ends, len(s.wire))
		s.sentAt = append(s.sentAt, at)
	}
	return s
}

// frame returns a frame with a time written into it: as many digits as stood
// there.
func (s *stream) frame(i int, now int64) []byte {
	if at := s.sentAt[i]; at > 0 {
		strconv.AppendInt(s.wire[at:at], now, 10)
	}
	if i == 0 {
		return s.wire[:s.ends[0]]
	}
	return s.wire[s.ends[i-1]:s.ends[i]]
}

// change is one change of the stream. Everything in it follows from its number.
type change struct {
	n     int
	table *table
	op    string
}

// changeAt returns a change: of the three tables in the shares that a shop has,
// most of them updates.
func changeAt(i int) change {
	c := change{n: i, op: "UPDATE"}
	r := source(i, 1)
	switch share := r.IntN(100); {
	case share < 40:
		c.table = &orders
	case share < 75:
		c.table = &payments
	default:
		c.table = &products
	}
	switch share := r.IntN(100); {
	case share < 25:
		c.op = "INSERT"
	case share < 30:
		c.op = "DELETE"
	}
	return c
}

func (c change) id() int64 { return int64(firstID + c.n) }

// total has digits that a float64 does not hold.
func (c change) total() string { return fmt.Sprintf("90071992547%07d.%02d", c.n, c.n%100) }

// frame returns the change in the order and the spacing of recorded frames, and
// where in it sent_at is, 0 if nowhere.
func (c change) frame() (text string, sentAt int) {
	var b strings.Builder
	b.WriteString(`[null,null,"` + topic + `","postgres_changes",{"data":{"columns":` + c.table.columns +
		fmt.Sprintf(`,"commit_timestamp":"2025-11-19T00:22:40.%03dZ","errors":null,`, c.n%1000))
	if c.op != "INSERT" {
		fmt.Fprintf(&b, `"old_record":{"id": %d},`, c.id())
	}
	if c.op != "DELETE" {
		b.WriteString(`"record":{`)
		for i, column := range c.table.sent {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, `"%s": `, column.name)
			if column.name == "sent_at" {
				sentAt = b.Len()
			}
			b.WriteString(c.value(column))
		}
		b.WriteString(`},`)
	}
	fmt.Fprintf(&b, `"schema":"public","table":"%s","type":"%s"},"ids":[%d]}]`, c.table.name, c.op, c.table.binding)
	return b.String(), sentAt
}

func (c change) value(column column) string {
	switch column.name {
	case "id":
		return strconv.FormatInt(c.id(), 10)
	case "sent_at":
		return strconv.Itoa(firstSent + c.n)
	case "total":
		return c.total()
	}
	return column.value(source(c.n, column.salt))
}

// sums add up what must come through exactly. They wrap around.
type sums struct {
	IDs    uint64 `json:"ids,string"`
	Totals uint64 `json:"totals,string"` // in hundredths
}

func (s *sums) add(id int64, total string) error {
	s.IDs += uint64(id)
	if total == "" { // a DELETE has the key alone
		return nil
	}
	whole, cents, _ := strings.Cut(total, ".")
	w, err := strconv.ParseUint(whole, 10, 64)
	if err != nil {
		return err
	}
	c, err := strconv.ParseUint(cents, 10, 64)
	s.Totals += w*100 + c
	return err
}

// expected is what a stream of so many changes adds up to.
func expected(events int) (s sums) {
	for i := range events {
		c := changeAt(i)
		total := c.total()
		if c.op == "DELETE" {
			total = ""
		}
		_ = s.add(c.id(), total) // digits that this package wrote
	}
	return s
}

package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// Order is what every client that decodes decodes into: a table of twelve
// columns, as many applications have it.
type Order struct {
	ID        int64           `json:"id"`
	SentAt    int64           `json:"sent_at"` // Unix time in nanoseconds
	Status    string          `json:"status"`
	Total     json.Number     `json:"total"`
	Currency  string          `json:"currency"`
	Quantity  int32           `json:"quantity"`
	Paid      bool            `json:"paid"`
	Note      *string         `json:"note"`
	Tags      []string        `json:"tags"`
	Address   json.RawMessage `json:"address"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
}

const columns = `[{"name": "id", "type": "int8"}, {"name": "sent_at", "type": "int8"}, {"name": "status", "type": "text"}, {"name": "total", "type": "numeric"}, ` +
	`{"name": "currency", "type": "text"}, {"name": "quantity", "type": "int4"}, {"name": "paid", "type": "bool"}, {"name": "note", "type": "text"}, ` +
	`{"name": "tags", "type": "_text"}, {"name": "address", "type": "jsonb"}, {"name": "created_at", "type": "timestamptz"}, {"name": "updated_at", "type": "timestamptz"}]`

const (
	topic     = "realtime:orders"
	bindingID = 106243155
	firstID   = 9007199254740993 // the first integer that a float64 does not hold
	firstSent = 1764028960877000001
)

// frame is a change as a server sends it: order and spacing are those of
// recorded frames.
func frame(i int) string {
	note := "null"
	if i%2 == 0 {
		note = fmt.Sprintf(`"leave it with the neighbour, door %d"`, i%100)
	}
	return fmt.Sprintf(`[null,null,"`+topic+`","postgres_changes",{"data":{"columns":`+columns+
		`,"commit_timestamp":"2025-11-19T00:22:40.%03dZ","errors":null,"old_record":{"id": %d},"record":`+
		`{"id": %d, "note": %s, "paid": %t, "tags": ["new", "gift"], "total": %s, "status": "%s", `+
		`"address": {"zip": "10115", "city": "Berlin"}, "sent_at": %d, "currency": "EUR", "quantity": %d, `+
		`"created_at": "2025-11-18T21:02:11.123456+00:00", "updated_at": "2025-11-19T00:22:40.87+00:00"}`+
		`,"schema":"public","table":"orders","type":"UPDATE"},"ids":[%d]}]`,
		i%1000, firstID+i, firstID+i, note, i%3 == 0, total(i), [...]string{"shipped", "open", "returned"}[i%3],
		firstSent+i, i%10, bindingID)
}

// total has digits that a float64 does not hold.
func total(i int) string { return fmt.Sprintf("90071992547409%05d.%02d", i, i%100) }

// ringSize is how many different frames there are; a stream repeats them.
const ringSize = 1024

// ring is the frames, each as it goes over the socket.
type ring struct {
	frames [][]byte
	sentAt []int // where in each the digits of sent_at are
}

func newRing() (r ring) {
	for i := range ringSize {
		text := frame(i)
		b := ws.MustCompileFrame(ws.NewTextFrame([]byte(text)))
		r.frames = append(r.frames, b)
		r.sentAt = append(r.sentAt, strings.Index(string(b), strconv.Itoa(firstSent+i)))
	}
	return r
}

// stamp writes the time into a frame: as many digits as stood there.
func (r ring) stamp(i int, now time.Time) []byte {
	strconv.AppendInt(r.frames[i][r.sentAt[i]:r.sentAt[i]], now.UnixNano(), 10)
	return r.frames[i]
}

// sums add up what must come through exactly. They wrap around.
type sums struct {
	IDs    uint64 `json:"ids,string"`
	Totals uint64 `json:"totals,string"` // in hundredths
}

func (s *sums) add(id int64, total string) error {
	whole, cents, _ := strings.Cut(total, ".")
	w, err := strconv.ParseUint(whole, 10, 64)
	if err != nil {
		return err
	}
	c, err := strconv.ParseUint(cents, 10, 64)
	s.IDs += uint64(id)
	s.Totals += w*100 + c
	return err
}

// expected is what a stream of so many changes adds up to.
func expected(events int) (s sums) {
	for i := range events {
		_ = s.add(int64(firstID+i%ringSize), total(i%ringSize)) // digits that this package wrote
	}
	return s
}

package pgoutput

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// FormatError says that a message is not one of pgoutput's.
type FormatError struct {
	Kind byte // of the message; 0: it is empty
	What string
}

// Error says what is wrong.
func (e *FormatError) Error() string { return fmt.Sprintf("pgoutput: message %q: %s", e.Kind, e.What) }

// epoch is PostgreSQL's.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Decode decodes a message. Values keep parts of data. The error is a
// *FormatError.
func Decode(data []byte) (Message, error) {
	r := &reader{rest: data}
	kind := r.byte()
	r.kind = kind
	var m Message
	switch kind {
	case 'B':
		m = Begin{Final: r.uint64(), Commit: r.time(), XID: r.uint32()}
	case 'C':
		r.byte() // flags
		r.uint64()
		m = Commit{End: r.uint64(), At: r.time()}
	case 'R':
		m = r.relation()
	case 'I':
		id := r.uint32()
		r.expect('N')
		m = Insert{Relation: id, New: r.tuple()}
	case 'U':
		m = r.update()
	case 'D':
		id := r.uint32()
		r.expect('K', 'O')
		m = Delete{Relation: id, Old: r.tuple()}
	case 'O', 'Y', 'T', 'M':
		return Other(kind), nil
	default:
		r.fail("unknown")
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail(fmt.Sprintf("%d bytes too many", len(r.rest)))
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// reader reads a message from the left. After an error it reads zeros.
type reader struct {
	kind byte
	rest []byte
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = &FormatError{r.kind, what}
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fail("it ends too early")
		return make([]byte, min(max(n, 0), 8)) // of which no more than a number is read
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) time() time.Time {
	us := int64(r.uint64())
	return epoch.Add(time.Duration(us/1e6) * time.Second).Add(time.Duration(us%1e6) * time.Microsecond)
}

func (r *reader) text() string {
	end := bytes.IndexByte(r.rest, 0)
	if end < 0 {
		r.fail("a name without an end")
		return ""
	}
	s := string(r.rest[:end])
	r.rest = r.rest[end+1:]
	return s
}

// expect reads the byte that begins a tuple.
func (r *reader) expect(kinds ...byte) byte {
	got := r.byte()
	if !bytes.Contains(kinds, []byte{got}) {
		r.fail(fmt.Sprintf("%q where a tuple %q begins", got, kinds))
	}
	return got
}

func (r *reader) relation() Relation {
	m := Relation{ID: r.uint32(), Schema: r.text(), Name: r.text(), Identity: Identity(r.byte())}
	if m.Schema == "" {
		m.Schema = "pg_catalog"
	}
	for range r.uint16() {
		if r.err != nil {
			break
		}
		c := Column{Key: r.byte()&1 != 0, Name: r.text(), Type: r.uint32()}
		r.uint32() // type modifier
		m.Columns = append(m.Columns, c)
	}
	return m
}

func (r *reader) update() Update {
	m := Update{Relation: r.uint32()}
	if r.expect('K', 'O', 'N') != 'N' {
		m.Old = r.tuple()
		r.expect('N')
	}
	m.New = r.tuple()
	return m
}

func (r *reader) tuple() Tuple {
	n := int(r.uint16())
	if n > len(r.rest) { // a value takes a byte at least
		r.fail("a tuple of too many columns")
		return nil
	}
	t := make(Tuple, n)
	for i := range t {
		if r.err != nil {
			break
		}
		t[i].Kind = Kind(r.byte())
		switch t[i].Kind {
		case Null, Unchanged:
		case Text:
			t[i].Text = r.take(int(r.uint32()))
		default:
			r.fail(fmt.Sprintf("a value of kind %q", byte(t[i].Kind)))
		}
	}
	return t
}

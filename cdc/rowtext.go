package cdc

import (
	"bytes"
	"encoding/json"
	"unsafe"
)

// rowText is one piece of memory for the text of a row's values. It holds
// nothing else, so that a row that is kept keeps no frame. Values borrow the
// text of the row until it is known how much that is.
type rowText struct {
	size int // of what has been borrowed
	free []byte
}

// ownText is how long a value may be to share memory with others. A longer one
// has its own, and does not stay because a short one of its row does.
const ownText = 256

func (t *rowText) borrow(text []byte) []byte {
	if len(text) <= ownText {
		t.size += len(text)
	}
	return text
}

// alloc makes room for what has been borrowed.
func (t *rowText) alloc() {
	if t.size > 0 {
		t.free = make([]byte, t.size)
	}
}

// own copies text into memory that is the row's own.
func (t *rowText) own(text []byte) []byte {
	n := len(text)
	switch {
	case n == 0:
		return nil
	case n > ownText || n > len(t.free):
		return bytes.Clone(text)
	}
	b := t.free[:n:n]
	t.free = t.free[n:]
	copy(b, text)
	return b
}

// own gives the text of the field at p, which put has written, memory of its
// own.
func (d direct) own(p unsafe.Pointer, t *rowText) {
	switch d.wrap {
	case pointer:
		if p = *(*unsafe.Pointer)(p); p == nil {
			return
		}
	case list:
		elements := *(*[]struct{})(p)
		first, size := unsafe.Pointer(unsafe.SliceData(elements)), sizes[d.op]
		for i := range elements {
			d.op.own(unsafe.Add(first, uintptr(i)*size), t)
		}
		return
	}
	d.op.own(p, t)
}

func (o op) own(p unsafe.Pointer, t *rowText) {
	if o == raws {
		*(*json.RawMessage)(p) = t.own(*(*json.RawMessage)(p))
		return
	}
	s := (*string)(p)
	*s = asString(t.own(unsafe.Slice(unsafe.StringData(*s), len(*s))))
}

// asString returns text, which nobody writes to, as a string. Bytes that are no
// UTF-8 have been replaced before.
func asString(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }

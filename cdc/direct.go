package cdc

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"time"
	"unsafe"
)

// direct is how a value is written into a field without reflection: by its
// address. It knows the kinds that most fields have, and of the values those
// that come every day; whatever it does not know it leaves to the field's
// decoder, which decides. What it takes, it decodes alike.
//
// Addresses come from structs of the type that the plan was made for, with the
// offsets that reflect gives, so that every write is within its field and of
// its type.
type direct struct {
	wrap  wrap
	op    op      // of the value; with a wrap, of what is in it
	valid uintptr // of an sql.Null: where Valid is
}

// op is a kind of scalar by its memory.
type op uint8

const (
	unknown op = iota
	int8s
	int16s
	int32s
	int64s
	uint8s
	uint16s
	uint32s
	uint64s
	float32s
	float64s
	bools
	strs
	numbers // json.Number
	times
	raws // json.RawMessage
)

// wrap is what is around a scalar.
type wrap uint8

const (
	bare    wrap = iota
	pointer      // nil for null
	sqlNull
	list
)

// directOf returns how to write into a type; its op is unknown if there is no
// such way.
func directOf(t reflect.Type) direct {
	switch {
	case t.Kind() == reflect.Pointer:
		return direct{wrap: pointer, op: opOf(t.Elem())}
	case isSQLNull(t):
		return direct{wrap: sqlNull, op: opOf(t.Field(0).Type), valid: t.Field(1).Offset}
	case t.Kind() == reflect.Slice && t != rawMessageType && !hasMethods(t) && opOf(t.Elem()) != uint8s:
		return direct{wrap: list, op: opOf(t.Elem())}
	}
	return direct{op: opOf(t)}
}

func hasMethods(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(scannerType) || p.Implements(textUnmarshalerType) || p.Implements(jsonUnmarshalerType)
}

func opOf(t reflect.Type) op {
	switch {
	case t == rawMessageType:
		return raws
	case t == reflect.TypeFor[time.Time]():
		return times
	case t == reflect.TypeFor[json.Number]():
		return numbers
	case hasMethods(t):
		return unknown
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		if t.Size() == 4 {
			return int32s
		}
		return int64s
	case reflect.Int8:
		return int8s
	case reflect.Int16:
		return int16s
	case reflect.Int32:
		return int32s
	case reflect.Uint, reflect.Uint64:
		if t.Size() == 4 {
			return uint32s
		}
		return uint64s
	case reflect.Uint8:
		return uint8s
	case reflect.Uint16:
		return uint16s
	case reflect.Uint32:
		return uint32s
	case reflect.Float32:
		return float32s
	case reflect.Float64:
		return float64s
	case reflect.Bool:
		return bools
	case reflect.String:
		return strs
	}
	return unknown
}

// holdsText reports whether a value takes room in the text of its row.
func (d direct) holdsText() bool { return d.op == strs || d.op == numbers || d.op == raws }

// put writes the value that begins at i, of the column, to the field at p, and
// returns where the value ends; -1 for a value that it does not know: what it
// has written until then does not count. Text is that of the row until it is
// owned; t gets to know how much there is.
func (d direct) put(p unsafe.Pointer, row []byte, i int, to *columnTarget, t *rowText) (end int) {
	switch d.wrap {
	case pointer:
		if isNullAt(row, i) {
			*(*unsafe.Pointer)(p) = nil
			return i + len(null)
		}
		to := d.op.alloc(1)
		*(*unsafe.Pointer)(p) = to
		p = to
	case sqlNull:
		valid := !isNullAt(row, i)
		*(*bool)(unsafe.Add(p, d.valid)) = valid
		if !valid && d.op.zero(p) {
			return i + len(null)
		}
	case list:
		return d.putList(p, row, i, to, t)
	}
	return d.op.put(p, row, i, to.class, t)
}

// putList writes an array to the slice at p. The slices of one op have one
// memory layout, whatever their elements are called.
func (d direct) putList(p unsafe.Pointer, row []byte, i int, to *columnTarget, t *rowText) (end int) {
	*(*[]struct{})(p) = nil
	switch {
	case isNullAt(row, i):
		return i + len(null)
	case row[i] != '[' || to.class == document:
		return -1
	}
	var room [16]int
	elements, end := elementsOf(row, i, room[:0])
	first, size := d.op.alloc(len(elements)), sizes[d.op]
	if end < 0 || first == nil {
		return -1
	}
	*(*[]struct{})(p) = unsafe.Slice((*struct{})(first), len(elements))
	for k, at := range elements {
		after := d.op.put(unsafe.Add(first, uintptr(k)*size), row, at, to.elem, t)
		if after < 0 || row[after] != ',' && row[after] != ']' { // part of it is no value
			return -1
		}
	}
	return end
}

// elementsOf appends where the elements of the array at i begin, and returns
// where the array ends; -1 if it is not simply written.
func elementsOf(row []byte, i int, list []int) (_ []int, end int) {
	if startsWith(row[i:], "[]") {
		return list, i + len("[]")
	}
	for i++; i < len(row); {
		end := valueEnd(row, i)
		if end <= i {
			return list, -1
		}
		list = append(list, i)
		switch {
		case row[end] == ']':
			return list, end + 1
		case row[end] != ',':
			return list, -1
		}
		if i = end + 1; i < len(row) && row[i] == ' ' {
			i++
		}
	}
	return list, -1
}

// alloc makes room for n scalars, and returns where the first is.
func (o op) alloc(n int) unsafe.Pointer {
	switch o {
	case int8s, uint8s, bools:
		return unsafe.Pointer(unsafe.SliceData(make([]uint8, n)))
	case int16s, uint16s:
		return unsafe.Pointer(unsafe.SliceData(make([]uint16, n)))
	case int32s, uint32s, float32s:
		return unsafe.Pointer(unsafe.SliceData(make([]uint32, n)))
	case int64s, uint64s, float64s:
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, n)))
	case strs, numbers:
		return unsafe.Pointer(unsafe.SliceData(make([]string, n)))
	case times:
		return unsafe.Pointer(unsafe.SliceData(make([]time.Time, n)))
	case raws:
		return unsafe.Pointer(unsafe.SliceData(make([]json.RawMessage, n)))
	}
	return nil
}

// sizes says how large a scalar is.
var sizes = [...]uintptr{
	int8s: 1, uint8s: 1, bools: 1,
	int16s: 2, uint16s: 2,
	int32s: 4, uint32s: 4, float32s: 4,
	int64s: 8, uint64s: 8, float64s: 8,
	strs: unsafe.Sizeof(""), numbers: unsafe.Sizeof(""),
	times: unsafe.Sizeof(time.Time{}),
	raws:  unsafe.Sizeof(json.RawMessage{}),
}

func (o op) zero(p unsafe.Pointer) bool {
	switch o {
	case int8s, uint8s, bools:
		*(*uint8)(p) = 0
	case int16s, uint16s:
		*(*uint16)(p) = 0
	case int32s, uint32s, float32s:
		*(*uint32)(p) = 0
	case int64s, uint64s, float64s:
		*(*uint64)(p) = 0
	case strs, numbers:
		*(*string)(p) = ""
	case times:
		*(*time.Time)(p) = time.Time{}
	case raws:
		*(*json.RawMessage)(p) = nil
	default:
		return false
	}
	return true
}

func (o op) put(p unsafe.Pointer, row []byte, i int, class class, t *rowText) (end int) {
	switch {
	case o == raws:
		if end = valueEnd(row, i); end > i {
			*(*json.RawMessage)(p) = t.borrow(row[i:end])
		}
		return end
	case row[i] == 'n':
		if !isNullAt(row, i) || !o.zero(p) {
			return -1
		}
		return i + len(null)
	case class == document || row[i] == '{':
		return -1
	}
	switch o {
	case int8s, int16s, int32s, int64s:
		return o.putInt(p, row, i)
	case strs:
		return putString((*string)(p), row, i, class, t)
	case times:
		return putTime((*time.Time)(p), row, i, class)
	case bools:
		return putBool((*bool)(p), row, i)
	case numbers:
		end = numberEnd(row, i)
		if end > 0 {
			*(*string)(p) = asString(t.borrow(row[i:end]))
		}
		return end
	case float32s, float64s:
		return o.putFloat(p, row, i)
	case uint8s, uint16s, uint32s, uint64s:
		return o.putUint(p, row, i)
	}
	return -1
}

func putString(p *string, row []byte, i int, class class, t *rowText) (end int) {
	switch {
	case row[i] != '"': // it is told as it is written
		if end = scalarEnd(row, i); end > 0 {
			*p = asString(t.borrow(row[i:end]))
		}
		return end
	case class == bytea:
		return -1
	}
	if end = plainEnd(row, i+1); end < len(row) && row[end] == '"' {
		*p = asString(t.borrow(row[i+1 : end]))
		return end + 1
	}
	if end = closingQuote(row, i); end < 0 {
		return -1
	}
	text, err := unquote(row[i : end+1])
	if err != nil {
		return -1
	}
	*p = asString(t.borrow(text))
	return end + 1
}

func putTime(p *time.Time, row []byte, i int, class class) (end int) {
	if row[i] != '"' || class != instant && class != other {
		return -1
	}
	if *p, end = usualTime(row, i+1); end > 0 && end < len(row) && row[end] == '"' {
		return end + 1
	}
	if end = plainEnd(row, i+1); end == len(row) || row[end] != '"' {
		return -1
	}
	at, err := parseTime(row[i+1 : end])
	if err != nil {
		return -1
	}
	*p = at
	return end + 1
}

func putBool(p *bool, row []byte, i int) (end int) {
	if *p = startsWith(row[i:], "true"); *p {
		return i + len("true")
	}
	return wordEnd(row, i, "false")
}

func (o op) putFloat(p unsafe.Pointer, row []byte, i int) (end int) {
	if end = numberEnd(row, i); end < 0 {
		return -1
	}
	bits := 64
	if o == float32s {
		bits = 32
	}
	f, err := strconv.ParseFloat(asString(row[i:end]), bits)
	if err != nil {
		return -1
	}
	if o == float32s {
		*(*float32)(p) = float32(f)
	} else {
		*(*float64)(p) = f
	}
	return end
}

func (o op) putInt(p unsafe.Pointer, row []byte, i int) (end int) {
	negative := row[i] == '-'
	if negative {
		i++
	}
	magnitude, end := parseDigits(row, i)
	n := int64(magnitude)
	switch {
	case end < 0 || magnitude > math.MaxInt64: // the least int64 is left to the decoder
		return -1
	case negative:
		n = -n
	}
	fits := true
	switch o {
	case int8s:
		*(*int8)(p) = int8(n)
		fits = int64(int8(n)) == n
	case int16s:
		*(*int16)(p) = int16(n)
		fits = int64(int16(n)) == n
	case int32s:
		*(*int32)(p) = int32(n)
		fits = int64(int32(n)) == n
	default:
		*(*int64)(p) = n
	}
	if !fits {
		return -1
	}
	return end
}

func (o op) putUint(p unsafe.Pointer, row []byte, i int) (end int) {
	n, end := parseDigits(row, i)
	if end < 0 {
		return -1
	}
	fits := true
	switch o {
	case uint8s:
		*(*uint8)(p) = uint8(n)
		fits = uint64(uint8(n)) == n
	case uint16s:
		*(*uint16)(p) = uint16(n)
		fits = uint64(uint16(n)) == n
	case uint32s:
		*(*uint32)(p) = uint32(n)
		fits = uint64(uint32(n)) == n
	default:
		*(*uint64)(p) = n
	}
	if !fits {
		return -1
	}
	return end
}

// parseDigits reads the digits from i on, of which there are 1 to 19, so that
// the number cannot overflow, and returns where they end. It returns -1 for
// anything else, and if more of the value follows.
func parseDigits(row []byte, i int) (n uint64, end int) {
	end = i
	for end+8 <= len(row) {
		w := binary.LittleEndian.Uint64(row[end:])
		k := digitsIn(w)
		if k < 8 {
			// Moved to the end, behind what counts as zeros.
			n = n*uint64(powersOfTen[k]) + numberOf(w<<(64-8*k))
			end += k
			break
		}
		n = n*1e8 + numberOf(w)
		end += 8
	}
	for end < len(row) && isDigit(row[end]) {
		n = n*10 + uint64(row[end]-'0')
		end++
	}
	if end == i || end > i+19 || end < len(row) && structural[row[end]] == 0 {
		return 0, -1
	}
	return n, end
}

// numberOf returns the number that eight digits are, the first in the lowest
// byte: it adds up pairs, then pairs of pairs, then both halves.
func numberOf(w uint64) uint64 {
	w = (w & 0x0f0f0f0f0f0f0f0f) * (10<<8 + 1) >> 8
	w = (w & 0x00ff00ff00ff00ff) * (100<<16 + 1) >> 16
	return (w & 0x0000ffff0000ffff) * (10000<<32 + 1) >> 32
}

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

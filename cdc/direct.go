package cdc

import (
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

// put writes a value, of a column of the class, to the field at p. It reports
// false for a value that it does not know; what it has written until then does
// not count.
func (d direct) put(p unsafe.Pointer, raw []byte, to *columnTarget, t *rowText) bool {
	switch d.wrap {
	case pointer:
		if isNull(raw) {
			*(*unsafe.Pointer)(p) = nil
			return true
		}
		to, _ := d.op.alloc(1)
		*(*unsafe.Pointer)(p) = to
		p = to
	case sqlNull:
		null := isNull(raw)
		*(*bool)(unsafe.Add(p, d.valid)) = !null
		if null {
			return d.op.zero(p)
		}
	case list:
		return d.putList(p, raw, to, t)
	}
	return d.op.put(p, raw, to.class, t)
}

// putList writes an array to the slice at p. The slices of one op have one
// memory layout, whatever their elements are called.
func (d direct) putList(p unsafe.Pointer, raw []byte, to *columnTarget, t *rowText) bool {
	if raw[0] != '[' || to.class == document {
		*(*[]struct{})(p) = nil
		return isNull(raw)
	}
	var room [16][]byte
	elements, ok := elementsOf(raw, room[:0])
	first, size := d.op.alloc(len(elements))
	if !ok || first == nil {
		return false
	}
	*(*[]struct{})(p) = unsafe.Slice((*struct{})(first), len(elements))
	for i, e := range elements {
		if !d.op.put(unsafe.Add(first, uintptr(i)*size), e, to.elem, t) {
			return false
		}
	}
	return true
}

// elementsOf appends the elements of an array, of which it reports false if
// they are not simply written.
func elementsOf(raw []byte, list [][]byte) (_ [][]byte, ok bool) {
	if string(raw) == "[]" {
		return list, true
	}
	for pos := 1; pos < len(raw); {
		end := valueEnd(raw, pos)
		if end <= pos {
			return list, false
		}
		list = append(list, raw[pos:end])
		switch {
		case raw[end] == ']':
			return list, end == len(raw)-1
		case raw[end] != ',':
			return list, false
		}
		if pos = end + 1; pos < len(raw) && raw[pos] == ' ' {
			pos++
		}
	}
	return list, false
}

// alloc makes room for n scalars, and returns where the first is and how large
// each.
func (o op) alloc(n int) (first unsafe.Pointer, size uintptr) {
	switch o {
	case int8s, uint8s, bools:
		return unsafe.Pointer(unsafe.SliceData(make([]uint8, n))), 1
	case int16s, uint16s:
		return unsafe.Pointer(unsafe.SliceData(make([]uint16, n))), 2
	case int32s, uint32s, float32s:
		return unsafe.Pointer(unsafe.SliceData(make([]uint32, n))), 4
	case int64s, uint64s, float64s:
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, n))), 8
	case strs, numbers:
		return unsafe.Pointer(unsafe.SliceData(make([]string, n))), unsafe.Sizeof("")
	case times:
		return unsafe.Pointer(unsafe.SliceData(make([]time.Time, n))), unsafe.Sizeof(time.Time{})
	case raws:
		return unsafe.Pointer(unsafe.SliceData(make([]json.RawMessage, n))), unsafe.Sizeof(json.RawMessage{})
	}
	return nil, 0
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

func (o op) put(p unsafe.Pointer, raw []byte, class class, t *rowText) bool {
	switch {
	case o == raws:
		*(*json.RawMessage)(p) = t.bytes(raw)
		return true
	case raw[0] == 'n':
		return isNull(raw) && o.zero(p)
	case class == document || raw[0] == '{':
		return false
	}
	switch o {
	case int8s, int16s, int32s, int64s:
		return o.putInt(p, raw)
	case strs:
		return putString((*string)(p), raw, class, t)
	case times:
		return putTime((*time.Time)(p), raw, class)
	case bools:
		*(*bool)(p) = string(raw) == "true"
		return *(*bool)(p) || string(raw) == "false"
	case numbers:
		if isNumber(raw) {
			*(*string)(p) = t.string(raw)
			return true
		}
	case float32s, float64s:
		return o.putFloat(p, raw)
	case uint8s, uint16s, uint32s, uint64s:
		return o.putUint(p, raw)
	}
	return false
}

func putString(p *string, raw []byte, class class, t *rowText) bool {
	body, ok := bodyOf(raw)
	switch {
	case !ok:
		*p = t.string(raw)
		return isNumber(raw) || string(raw) == "true" || string(raw) == "false"
	case class == bytea:
		return false
	case isASCII(body):
		*p = t.string(body)
		return true
	}
	text, err := unquote(raw)
	if err != nil {
		return false
	}
	*p = t.string(text)
	return true
}

// bodyOf returns what is between the quotes of a string.
func bodyOf(raw []byte) (body []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, false
	}
	return raw[1 : len(raw)-1], true
}

func putTime(p *time.Time, raw []byte, class class) bool {
	body, ok := bodyOf(raw)
	if !ok || class != instant && class != other {
		return false
	}
	at, err := parseTime(body) // which refuses escapes
	*p = at
	return err == nil
}

func (o op) putFloat(p unsafe.Pointer, raw []byte) bool {
	if !isNumber(raw) {
		return false
	}
	bits := 64
	if o == float32s {
		bits = 32
	}
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(raw), len(raw)), bits)
	if o == float32s {
		*(*float32)(p) = float32(f)
	} else {
		*(*float64)(p) = f
	}
	return err == nil
}

func (o op) putInt(p unsafe.Pointer, raw []byte) bool {
	negative := raw[0] == '-'
	if negative {
		raw = raw[1:]
	}
	magnitude, ok := parseDigits(raw)
	n := int64(magnitude)
	switch {
	case !ok || magnitude > math.MaxInt64: // the least int64 is left to the decoder
		return false
	case negative:
		n = -n
	}
	switch o {
	case int8s:
		*(*int8)(p) = int8(n)
		return int64(int8(n)) == n
	case int16s:
		*(*int16)(p) = int16(n)
		return int64(int16(n)) == n
	case int32s:
		*(*int32)(p) = int32(n)
		return int64(int32(n)) == n
	}
	*(*int64)(p) = n
	return true
}

func (o op) putUint(p unsafe.Pointer, raw []byte) bool {
	n, ok := parseDigits(raw)
	if !ok {
		return false
	}
	switch o {
	case uint8s:
		*(*uint8)(p) = uint8(n)
		return uint64(uint8(n)) == n
	case uint16s:
		*(*uint16)(p) = uint16(n)
		return uint64(uint16(n)) == n
	case uint32s:
		*(*uint32)(p) = uint32(n)
		return uint64(uint32(n)) == n
	}
	*(*uint64)(p) = n
	return true
}

// parseDigits reads at most 19 digits, which cannot overflow.
func parseDigits(raw []byte) (n uint64, ok bool) {
	if len(raw) == 0 || len(raw) > 19 {
		return 0, false
	}
	for len(raw) >= 8 {
		w := binary.LittleEndian.Uint64(raw)
		if !eightDigits(w) {
			return 0, false
		}
		n, raw = n*1e8+numberOf(w), raw[8:]
	}
	for _, c := range raw {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// numberOf returns the number that eight digits are, the first in the lowest
// byte: it adds up pairs, then pairs of pairs, then both halves.
func numberOf(w uint64) uint64 {
	w = (w & 0x0f0f0f0f0f0f0f0f) * (10<<8 + 1) >> 8
	w = (w & 0x00ff00ff00ff00ff) * (100<<16 + 1) >> 16
	return (w & 0x0000ffff0000ffff) * (10000<<32 + 1) >> 32
}

// rowText is one piece of memory for the text of a row's values. It holds
// nothing else, so that a row that is kept keeps no frame.
type rowText struct{ free []byte }

func newRowText(n int) (t rowText) {
	if n > 0 {
		t.free = make([]byte, n)
	}
	return t
}

// ownText is how long a value may be to share memory with others. A longer one
// has its own, and does not stay because a short one of its row does.
const ownText = 256

func (t *rowText) take(n int) []byte {
	if n > ownText || n > len(t.free) {
		return make([]byte, n)
	}
	b := t.free[:n:n]
	t.free = t.free[n:]
	return b
}

func (t *rowText) bytes(text []byte) []byte {
	b := t.take(len(text))
	copy(b, text)
	return b
}

// string copies text. Bytes that are no UTF-8 have been replaced before.
func (t *rowText) string(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	return unsafe.String(unsafe.SliceData(t.bytes(text)), len(text))
}

package cdc

import (
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

// put writes a value to the field at p. It reports false for a value that it
// does not know; what it has written until then does not count.
func (d direct) put(p unsafe.Pointer, v value, elem class, t *rowText) bool {
	null := v.isNull()
	switch d.wrap {
	case pointer:
		if null {
			*(*unsafe.Pointer)(p) = nil
			return true
		}
		to, _ := d.op.alloc(1)
		*(*unsafe.Pointer)(p) = to
		return d.op.put(to, v, t)
	case sqlNull:
		*(*bool)(unsafe.Add(p, d.valid)) = !null
		if null {
			return d.op.zero(p)
		}
	case list:
		return d.putList(p, v, elem, t)
	}
	return d.op.put(p, v, t)
}

// putList writes an array to the slice at p. The slices of one op have one
// memory layout, whatever their elements are called.
func (d direct) putList(p unsafe.Pointer, v value, elem class, t *rowText) bool {
	if !v.isArray() {
		*(*[]struct{})(p) = nil
		return v.isNull()
	}
	n := 0
	for w := walkArray(v.raw); w.next(); {
		n++
	}
	first, size := d.op.alloc(n)
	if first == nil {
		return false
	}
	*(*[]struct{})(p) = unsafe.Slice((*struct{})(first), n)
	w := walkArray(v.raw)
	for i := 0; w.next(); i++ {
		if !d.op.put(unsafe.Add(first, uintptr(i)*size), value{class: elem, raw: w.val}, t) {
			return false
		}
	}
	return w.err == nil
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

func (o op) put(p unsafe.Pointer, v value, t *rowText) bool {
	if o == raws {
		*(*json.RawMessage)(p) = t.bytes(v.raw)
		return true
	}
	switch {
	case v.isNull():
		return o.zero(p)
	case v.isDocument():
		return false
	}
	switch o {
	case strs:
		return v.putString((*string)(p), t)
	case numbers:
		if v.isNumber() {
			*(*string)(p) = t.string(v.raw)
			return true
		}
	case times:
		return v.putTime((*time.Time)(p))
	case bools:
		*(*bool)(p) = string(v.raw) == "true"
		return v.isBool()
	case float32s, float64s:
		return o.putFloat(p, v)
	case uint8s, uint16s, uint32s, uint64s:
		return o.putUint(p, v.raw)
	case int8s, int16s, int32s, int64s:
		return o.putInt(p, v.raw)
	}
	return false
}

func (v value) putString(p *string, t *rowText) bool {
	switch {
	case v.isNumber(), v.isBool():
		*p = t.string(v.raw)
		return true
	case v.class == bytea || len(v.raw) < 2 || !v.isString() || v.raw[len(v.raw)-1] != '"':
		return false
	}
	if body := v.raw[1 : len(v.raw)-1]; isASCII(body) {
		*p = t.string(body)
		return true
	}
	body, err := unquote(v.raw)
	if err != nil {
		return false
	}
	*p = t.string(body)
	return true
}

func (v value) putTime(p *time.Time) bool {
	if v.class != instant && v.class != other || len(v.raw) < 2 || !v.isString() || v.raw[len(v.raw)-1] != '"' {
		return false
	}
	at, err := parseTime(v.raw[1 : len(v.raw)-1]) // which refuses escapes
	*p = at
	return err == nil
}

func (o op) putFloat(p unsafe.Pointer, v value) bool {
	if !v.isNumber() {
		return false
	}
	bits := 64
	if o == float32s {
		bits = 32
	}
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(v.raw), len(v.raw)), bits)
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
	for _, c := range raw {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// rowText is one piece of memory for the text of a row's values. It holds
// nothing else, so that a row that is kept keeps no frame.
type rowText struct{ free []byte }

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

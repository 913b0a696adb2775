package cdc

import (
	"encoding/json"
	"reflect"
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

package rowjson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"
	"unsafe"
)

// slot is how a value is written, by its address, into a type that needs no
// method of its own: a scalar, a pointer to one, an sql.Null or a slice of them.
// A struct of slots alone stays on the stack of its reader, where reflection
// would need it on the heap.
//
// Addresses come from a type that the slot was made for, with the offsets that
// reflect gives, so that every write is within its field and of its type.
type slot struct {
	wrap  wrap
	kind  kind         // of the scalar
	size  uintptr      // of the scalar
	typ   reflect.Type // of the scalar, or of the slice
	valid uintptr      // of an sql.Null: where Valid is
	text  int          // the most that it takes of the memory for texts
}

// ownText is how long a text may be to share memory with others. A longer one
// has its own, and does not stay because a short one of its row does. Those of a
// list take no more than listText.
const (
	ownText  = 256
	listText = 4096
)

// kind is a kind of scalar by its memory.
type kind uint8

const (
	unknown kind = iota
	ints
	uints
	floats
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

// slotOf returns how to write into a type; its kind is unknown if it is no slot.
func slotOf(t reflect.Type) slot {
	scalar, w := t, bare
	switch {
	case t.Kind() == reflect.Pointer:
		scalar, w = t.Elem(), pointer
	case isSQLNull(t):
		scalar, w = t.Field(0).Type, sqlNull
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 && !hasMethods(t):
		scalar, w = t.Elem(), list
	}
	s := slot{wrap: w, kind: kindOf(scalar), size: scalar.Size(), typ: scalar}
	if s.kind >= strs && s.kind != times {
		s.text = ownText
	}
	switch w {
	case sqlNull:
		s.valid = t.Field(1).Offset
	case list:
		s.typ, s.text = t, min(s.text, 1)*listText
	}
	return s
}

func hasMethods(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(scannerType) || p.Implements(textUnmarshalerType) || p.Implements(jsonUnmarshalerType)
}

func kindOf(t reflect.Type) kind {
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return raws
	case reflect.TypeFor[time.Time]():
		return times
	case reflect.TypeFor[json.Number]():
		return numbers
	}
	switch k := t.Kind(); {
	case hasMethods(t):
	case reflect.Int <= k && k <= reflect.Int64:
		return ints
	case reflect.Uint <= k && k <= reflect.Uint64:
		return uints
	case k == reflect.Float32, k == reflect.Float64:
		return floats
	case k == reflect.Bool:
		return bools
	case k == reflect.String:
		return strs
	}
	return unknown
}

// textSize returns how much of the text of a row the value needs at most, as
// far as it shares memory with others.
func (s *slot) textSize(raw []byte) int {
	switch {
	case len(raw) <= s.text && (raw[0] != 'n' || s.kind == raws):
		return len(raw)
	case s.wrap == list && raw[0] != 'n':
		return s.text
	}
	return 0
}

// put writes a value to the slot at p. What is there before is replaced, and
// what it points to left alone.
func (s *slot) put(p unsafe.Pointer, v *Value, a *arena) error {
	switch isNull := v.isNull(); s.wrap {
	case pointer:
		var to unsafe.Pointer
		if !isNull {
			to = s.alloc(1)
		}
		*(*unsafe.Pointer)(p) = to
		if p = to; isNull {
			return nil
		}
	case sqlNull:
		*(*bool)(unsafe.Add(p, s.valid)) = !isNull
		if isNull {
			s.zero(p)
			return nil
		}
	case list:
		return s.putList(p, v, a)
	}
	return s.putScalar(p, v, a)
}

// putList writes an array to the slice at p. Slices of one kind and size have
// one memory layout, whatever their elements are called.
func (s *slot) putList(p unsafe.Pointer, v *Value, a *arena) error {
	to := (*[]struct{})(p)
	*to = nil
	switch {
	case v.isNull():
		return nil
	case v.isDocument():
		x := reflect.New(s.typ)
		err := decodeJSON(x.Elem(), v.raw)
		*to = *(*[]struct{})(x.UnsafePointer())
		return err
	case !v.isArray():
		return v.refuse("does not fit")
	}
	var room [16]Cell
	cells, common := v.elements(room[:0])
	first := s.alloc(len(cells))
	*to = unsafe.Slice((*struct{})(first), len(cells))
	for i, x := range cells {
		e := v.element(common, x)
		if err := s.putScalar(unsafe.Add(first, uintptr(i)*s.size), &e, a); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	return nil
}

func (s *slot) putScalar(p unsafe.Pointer, v *Value, a *arena) (err error) {
	switch {
	case s.kind == raws:
		*(*json.RawMessage)(p) = a.copy(v.raw)
		return nil
	case v.isNull():
		s.zero(p)
		return nil
	case v.isDocument():
		return s.putDocument(p, v)
	}
	switch s.kind {
	case ints:
		var n int64
		n, err = v.int(int(s.size) * 8)
		s.setBits(p, uint64(n))
	case uints:
		var n uint64
		n, err = v.uint(int(s.size) * 8)
		s.setBits(p, n)
	case floats:
		var f float64
		f, err = v.float(int(s.size) * 8)
		if s.size == 4 {
			*(*float32)(p) = float32(f)
		} else {
			*(*float64)(p) = f
		}
	case bools:
		if !v.isBool() {
			return v.refuse("is not a boolean")
		}
		*(*bool)(p) = v.raw[0] == 't'
	case strs:
		*(*string)(p), err = v.textIn(a)
	case numbers:
		if !v.isNumber() {
			_, notFloat := v.float(64)
			if _, notInteger := v.integer(); notFloat != nil && notInteger != nil {
				return v.refuse("is not a number")
			}
		}
		*(*string)(p), err = v.textIn(a)
	case times:
		*(*time.Time)(p), err = v.time()
	}
	return err
}

// textIn returns the text of a value, in the arena.
func (v *Value) textIn(a *arena) (string, error) {
	switch {
	case v.isString() && v.class != bytea:
		return a.text(v.raw[1 : len(v.raw)-1]), nil
	case v.isNumber(), v.isBool():
		return asString(a.copy(v.raw)), nil
	}
	return v.text()
}

func (s *slot) setBits(p unsafe.Pointer, n uint64) {
	switch s.size {
	case 1:
		*(*uint8)(p) = uint8(n)
	case 2:
		*(*uint16)(p) = uint16(n)
	case 4:
		*(*uint32)(p) = uint32(n)
	default:
		*(*uint64)(p) = n
	}
}

// putDocument decodes a value that is JSON in its own right.
func (s *slot) putDocument(p unsafe.Pointer, v *Value) error {
	t := s.typ
	if s.wrap == list {
		t = t.Elem()
	}
	x := reflect.New(t)
	err := decodeJSON(x.Elem(), v.raw)
	switch s.kind {
	case strs, numbers:
		*(*string)(p) = *(*string)(x.UnsafePointer())
	case times:
		*(*time.Time)(p) = *(*time.Time)(x.UnsafePointer())
	default:
		copy(unsafe.Slice((*byte)(p), s.size), unsafe.Slice((*byte)(x.UnsafePointer()), s.size))
	}
	return err
}

func (s *slot) zero(p unsafe.Pointer) {
	switch s.kind {
	case strs, numbers:
		*(*string)(p) = ""
	case times:
		*(*time.Time)(p) = time.Time{}
	case raws:
		*(*json.RawMessage)(p) = nil
	default:
		clear(unsafe.Slice((*byte)(p), s.size))
	}
}

// alloc makes room for n scalars, and returns where the first is.
func (s *slot) alloc(n int) unsafe.Pointer {
	switch s.kind {
	case strs, numbers:
		return unsafe.Pointer(unsafe.SliceData(make([]string, n)))
	case times:
		return unsafe.Pointer(unsafe.SliceData(make([]time.Time, n)))
	case raws:
		return unsafe.Pointer(unsafe.SliceData(make([]json.RawMessage, n)))
	}
	return unsafe.Pointer(unsafe.SliceData(make([]uint64, (uintptr(n)*s.size+7)/8)))
}

package cdc

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unsafe"
)

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

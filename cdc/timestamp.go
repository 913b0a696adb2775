package cdc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"
)

// Infinity and NegInfinity stand in a time.Time for PostgreSQL's infinity and
// -infinity. They are later and earlier than every date and timestamp that
// PostgreSQL can store, so Before and After say what is true. Recognize them
// by Equal. Like other times outside of the years 0 to 9999 they cannot be
// marshaled to JSON. Types that know infinity themselves and are an
// sql.Scanner, such as pgtype.Timestamptz, are given the word instead.
var (
	Infinity    = time.Date(10_000_000, time.January, 1, 0, 0, 0, 0, time.UTC)
	NegInfinity = time.Date(-10_000_000, time.January, 1, 0, 0, 0, 0, time.UTC)
)

var errNotTime = errors.New("not a date or timestamp")

// parseTime reads PostgreSQL's date, timestamp and timestamptz in ISO style,
// with a T or a blank between date and time, with or without an offset from
// UTC, which is then zero, and BC or not. The result is in UTC.
func parseTime(text []byte) (time.Time, error) {
	if t, end := usualTime(text, 0); end == len(text) {
		return t, nil
	}
	switch string(text) {
	case "infinity":
		return Infinity, nil
	case "-infinity":
		return NegInfinity, nil
	}
	text, bc := bytes.CutSuffix(text, []byte(" BC"))
	p := timeParser{text: text}
	year := p.number(4, 7)
	p.eat('-')
	month := p.number(2, 2)
	p.eat('-')
	day := p.number(2, 2)
	if bc {
		year = 1 - year // there is no year 0
	}
	var hour, minute, second, nanos, offset int
	if len(p.text) > 0 {
		if !p.try(' ') {
			p.eat('T')
		}
		hour, minute, second = p.clock()
		if p.try('.') {
			nanos = p.fraction()
		}
		offset = p.offset()
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if p.failed || len(p.text) > 0 || bc == (year > 0) ||
		int(t.Month()) != month || t.Day() != day || minute > 59 || second > 59 { // 24 hours would be another day
		return time.Time{}, errNotTime
	}
	return t.Add(-time.Duration(offset) * time.Second), nil
}

// usualTime reads the time at i, of 2006-01-02T15:04:05 with a fraction or not,
// in UTC, which is what Realtime sends in all but a few cases. It returns where
// the time ends, -1 if there is no such one.
func usualTime(text []byte, i int) (t time.Time, end int) {
	if i+len("2006-01-02T15:04:05") >= len(text) {
		return t, -1
	}
	// Both as they stand in memory, the first byte lowest: "0000-00-" and
	// "00T00:00", and where in them the signs are.
	const (
		dateForm, dateSigns   = 0x2d30302d30303030, 0xff0000ff00000000
		clockForm, clockSigns = 0x30303a3030543030, 0x0000ff0000ff0000
	)
	date, okDate := pairsOf(binary.LittleEndian.Uint64(text[i:]), dateForm, dateSigns)
	clock, okClock := pairsOf(binary.LittleEndian.Uint64(text[i+8:]), clockForm, clockSigns)
	if !okDate || !okClock || text[i+16] != ':' {
		return t, -1
	}
	year, month, day := int(date&0xff*100+date>>16&0xff), int(date>>40&0xff), int(clock&0xff)
	hour, minute, second := int(clock>>24&0xff), int(clock>>48&0xff), twoDigits(text, i+17)
	nanos, end := 0, i+19
	if text[end] == '.' {
		digits := digitsEnd(text, end+1) - end - 1
		if digits == 0 || digits > 9 {
			return t, -1
		}
		for _, c := range text[end+1 : end+1+digits] {
			nanos = nanos*10 + int(c-'0')
		}
		nanos *= powersOfTen[9-digits]
		end += 1 + digits
	}
	if second < 0 || year == 0 || month == 0 || month > 12 || day == 0 || hour > 23 || minute > 59 || second > 59 {
		return t, -1
	}
	if days := daysIn[month-1]; day > days && (month != 2 || day > 29 || year%4 != 0 || year%100 == 0 && year%400 != 0) {
		return t, -1
	}
	switch {
	case startsWith(text[end:], "+00:00"):
		end += len("+00:00")
	case startsWith(text[end:], "Z"):
		end++
	default:
		return t, -1
	}
	return time.Unix(int64(daysSince1970(year, month, day))*86400+int64(hour*3600+minute*60+second), int64(nanos)).UTC(), end
}

// pairsOf reads eight bytes that have digits where the form has zeros, and its
// signs elsewhere. Of the result, each byte is the number that the digit of its
// place and the one after it are.
func pairsOf(w, form, signs uint64) (pairs uint64, ok bool) {
	const high, six = 0xf0f0f0f0f0f0f0f0, 0x0606060606060606
	w ^= form // digits become 0 to 9, see digitsIn, and signs zero
	return w*10 + w>>8, (w|(w+six))&high|w&signs == 0
}

var daysIn = [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

var powersOfTen = [...]int{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// twoDigits returns a number, less than zero if it is none.
func twoDigits(text []byte, i int) int {
	a, b := text[i]-'0', text[i+1]-'0'
	if a > 9 || b > 9 {
		return -1 << 20
	}
	return int(a)*10 + int(b)
}

// daysSince1970 counts from March, so that a leap day is a year's last.
func daysSince1970(year, month, day int) int {
	if month -= 3; month < 0 {
		month, year = month+12, year-1
	}
	return year*365 + year/4 - year/100 + year/400 + (month*153+2)/5 + day - 1 - 719468
}

// timeParser takes things off the front of text.
type timeParser struct {
	text   []byte
	failed bool
}

func (p *timeParser) try(c byte) bool {
	if len(p.text) == 0 || p.text[0] != c {
		return false
	}
	p.text = p.text[1:]
	return true
}

func (p *timeParser) eat(c byte) {
	if !p.try(c) {
		p.failed = true
	}
}

// number takes at least least and at most most digits.
func (p *timeParser) number(least, most int) int {
	n, i := 0, 0
	for i < most && i < len(p.text) && '0' <= p.text[i] && p.text[i] <= '9' {
		n = n*10 + int(p.text[i]-'0')
		i++
	}
	p.failed = p.failed || i < least
	p.text = p.text[i:]
	return n
}

func (p *timeParser) clock() (hour, minute, second int) {
	hour = p.number(2, 2)
	p.eat(':')
	minute = p.number(2, 2)
	p.eat(':')
	return hour, minute, p.number(2, 2)
}

// fraction takes the digits after the point and returns nanoseconds.
func (p *timeParser) fraction() int {
	digits := len(p.text)
	n := p.number(1, 9)
	for digits -= len(p.text); digits < 9; digits++ {
		n *= 10
	}
	return n
}

// offset takes what may follow the time of day: nothing, Z, or an offset of
// +hh, +hh:mm or +hh:mm:ss. It returns seconds east of UTC.
func (p *timeParser) offset() int {
	sign := 1
	switch {
	case len(p.text) == 0 || p.try('Z'):
		return 0
	case p.try('-'):
		sign = -1
	default:
		p.eat('+')
	}
	seconds := p.number(2, 2) * 3600
	for unit := 60; unit > 0 && p.try(':'); unit /= 60 {
		n := p.number(2, 2)
		p.failed = p.failed || n > 59
		seconds += n * unit
	}
	return sign * seconds
}

package cdc

import (
	"bytes"
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

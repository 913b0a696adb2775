package rowjson

import (
	"bytes"
	"time"
)

// Infinity and NegInfinity stand for PostgreSQL's infinity and -infinity.
var (
	Infinity    = time.Date(10_000_000, time.January, 1, 0, 0, 0, 0, time.UTC)
	NegInfinity = time.Date(-10_000_000, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// TimeOf is ParseTime for a JSON string that a Cursor has taken.
func TimeOf(raw []byte) (t time.Time, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return t, false
	}
	if t, ok = ParseTime(raw[1 : len(raw)-1]); ok { // without an escape, as most are
		return t, true
	}
	s, _ := Unquote(raw)
	return ParseTime([]byte(s))
}

// ParseTime reads PostgreSQL's date, timestamp and timestamptz in ISO style,
// with a T or a blank between date and time, with or without an offset from
// UTC, which is then zero, and BC or not. The result is in UTC.
func ParseTime(text []byte) (t time.Time, ok bool) {
	switch string(text) {
	case "infinity":
		return Infinity, true
	case "-infinity":
		return NegInfinity, true
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
	var seconds, nanos int
	if p.pos < len(text) {
		if !p.try(' ') {
			p.eat('T')
		}
		hour, minute, second := p.clock()
		if hour > 23 || minute > 59 || second > 59 { // 24 hours would be another day
			return t, false
		}
		if p.try('.') {
			nanos = p.fraction()
		}
		seconds = hour*3600 + minute*60 + second - p.offset()
	}
	if p.failed || p.pos < len(text) || bc == (year > 0) || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return t, false
	}
	return time.Unix(int64(daysSince1970(year, month, day))*86400+int64(seconds), int64(nanos)).UTC(), true
}

func daysIn(year, month int) int {
	switch {
	case month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	case month == 2:
		return 28
	case month == 4 || month == 6 || month == 9 || month == 11:
		return 30
	}
	return 31
}

// daysSince1970 counts from March, so that a leap day is a year's last, in
// cycles of 400 years, so that nothing is negative.
func daysSince1970(year, month, day int) int {
	const cycles = 25_000
	if month -= 3; month < 0 {
		month, year = month+12, year-1
	}
	year += cycles * 400
	return year*365 + year/4 - year/100 + year/400 + (month*153+2)/5 + day - 1 - 719468 - cycles*146097
}

// timeParser takes things off the front of text.
type timeParser struct {
	text   []byte
	pos    int
	failed bool
}

func (p *timeParser) try(c byte) bool {
	if p.pos == len(p.text) || p.text[p.pos] != c {
		return false
	}
	p.pos++
	return true
}

func (p *timeParser) eat(c byte) {
	if !p.try(c) {
		p.failed = true
	}
}

// number takes at least least and at most most digits.
func (p *timeParser) number(least, most int) int {
	n, start := 0, p.pos
	for p.pos < len(p.text) && p.pos < start+most && isDigit(p.text[p.pos]) {
		n = n*10 + int(p.text[p.pos]-'0')
		p.pos++
	}
	p.failed = p.failed || p.pos < start+least
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
	start := p.pos
	n := p.number(1, 9)
	for digits := p.pos - start; digits < 9; digits++ {
		n *= 10
	}
	return n
}

// offset takes what may follow the time of day: nothing, Z, or an offset of
// +hh, +hh:mm or +hh:mm:ss. It returns seconds east of UTC.
func (p *timeParser) offset() int {
	sign := 1
	switch {
	case p.pos == len(p.text) || p.try('Z'):
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

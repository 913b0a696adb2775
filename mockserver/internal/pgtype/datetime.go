package pgtype

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// instant is the datum of timestamp and timestamptz: microseconds since 2000
// in UTC (from 1970 on, int64 would not hold the last years that PostgreSQL
// can), or one of the infinities.
type instant int64

// day is the datum of date: days since 1970, or one of the infinities.
type day int64

// clock is the datum of time: microseconds since midnight, up to 24:00.
type clock int64

// zonedClock is the datum of timetz.
type zonedClock struct {
	clock clock
	east  int // of UTC, in seconds
}

const (
	infinitelyLate  = math.MaxInt64
	infinitelyEarly = math.MinInt64

	microsPerSecond = 1_000_000
	microsPerDay    = 24 * 60 * 60 * microsPerSecond
)

// epoch is where instants begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// The range of what PostgreSQL can store: from 24 November 4714 BC, which is
// the year -4713 to time.Date.
var (
	firstInstant = instantOf(-4713, 11, 24, 0)
	endInstant   = instantOf(294277, 1, 1, 0)
	firstDay     = dayOf(-4713, 11, 24)
	endDay       = dayOf(5874898, 1, 1)
)

func instantOf(year, month, dayOfMonth int, micros int64) instant {
	seconds := time.Date(year, time.Month(month), dayOfMonth, 0, 0, 0, 0, time.UTC).Unix() - epoch.Unix()
	return instant(seconds*microsPerSecond + micros)
}

func dayOf(year, month, dayOfMonth int) day {
	return day(floorDiv(time.Date(year, time.Month(month), dayOfMonth, 0, 0, 0, 0, time.UTC).Unix(), 24*60*60))
}

var (
	timestampOps = typeOps{
		parse:   parseInstant,
		text:    func(_ Type, v any) string { return v.(instant).format(" ", "") },
		compare: compareOf[instant],
		json:    func(_ Type, v any) []byte { return AppendString(nil, v.(instant).format("T", "")) },
	}
	timestamptzOps = typeOps{
		parse:   parseInstant,
		text:    func(_ Type, v any) string { return v.(instant).format(" ", "+00") },
		compare: compareOf[instant],
		json:    func(_ Type, v any) []byte { return AppendString(nil, v.(instant).format("T", "+00:00")) },
	}
	dateOps = typeOps{
		parse:   parseDay,
		text:    func(_ Type, v any) string { return v.(day).format() },
		compare: compareOf[day],
	}
	timeOps = typeOps{
		parse: func(t Type, s string) (any, error) {
			c, err := parseClock(t, s)
			return c.clock, err
		},
		text:    func(_ Type, v any) string { return formatClock(int64(v.(clock))) },
		compare: compareOf[clock],
	}
	timetzOps = typeOps{
		parse: func(t Type, s string) (any, error) {
			c, err := parseClock(t, s)
			return c, err
		},
		text: func(_ Type, v any) string {
			return formatClock(int64(v.(zonedClock).clock)) + formatZone(v.(zonedClock).east)
		},
		compare: func(_ Type, a, b any) (int, bool) {
			left, right := a.(zonedClock), b.(zonedClock)
			if n := cmp.Compare(left.utc(), right.utc()); n != 0 {
				return n, true
			}
			return cmp.Compare(right.east, left.east), true
		},
	}
)

func compareOf[T instant | day | clock](_ Type, a, b any) (int, bool) {
	return cmp.Compare(a.(T), b.(T)), true
}

func (c zonedClock) utc() int64 { return int64(c.clock) - int64(c.east)*microsPerSecond }

// newInstant makes the datum of a time.
func newInstant(t Type, at time.Time) (instant, error) {
	at = at.UTC().Round(time.Microsecond)
	if y := at.Year(); y < -4714 || y > 294277 { // before it overflows
		return 0, Errorf(CodeTimeRange, "timestamp out of range")
	}
	micros := (at.Unix()-epoch.Unix())*microsPerSecond + int64(at.Nanosecond()/1000)
	i := instant(roundTo(micros, t.mod))
	if i < firstInstant || i >= endInstant {
		return 0, Errorf(CodeTimeRange, "timestamp out of range")
	}
	return i, nil
}

// roundTo rounds microseconds to a number of digits of a second, halves away
// from zero; -1: all six.
func roundTo(micros int64, digits int) int64 {
	if digits < 0 || digits >= 6 {
		return micros
	}
	unit := int64(math.Pow10(6 - digits))
	half := unit / 2
	if micros < 0 {
		half = -half
	}
	return (micros + half) / unit * unit
}

// time returns the time, unless it is infinite.
func (i instant) time() (time.Time, bool) {
	seconds := floorDiv(int64(i), microsPerSecond)
	micros := int64(i) - seconds*microsPerSecond
	return time.Unix(epoch.Unix()+seconds, micros*1000).UTC(), i != infinitelyLate && i != infinitelyEarly
}

// format writes a date and a time with what stands between and behind them.
func (i instant) format(between, zone string) string {
	at, ok := i.time()
	if !ok {
		return formatInfinity(int64(i))
	}
	date, era := formatDate(at)
	return date + between + formatClock(int64(i)-floorDiv(int64(i), microsPerDay)*microsPerDay) + zone + era
}

func (d day) format() string {
	if d == infinitelyLate || d == infinitelyEarly {
		return formatInfinity(int64(d))
	}
	date, era := formatDate(time.Unix(int64(d)*86400, 0).UTC())
	return date + era
}

func formatInfinity(v int64) string {
	if v < 0 {
		return "-infinity"
	}
	return "infinity"
}

// formatDate writes the date, and the era to be put behind the whole where it
// is BC: the year 0 of time.Time is 1 BC.
func formatDate(at time.Time) (date, era string) {
	year, month, dayOfMonth := at.Date()
	if year <= 0 {
		year, era = 1-year, " BC"
	}
	return fmt.Sprintf("%04d-%02d-%02d", year, int(month), dayOfMonth), era
}

// formatClock writes hours, minutes and seconds, without trailing zeros of the
// fraction.
func formatClock(micros int64) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	seconds, fraction := micros/microsPerSecond, micros%microsPerSecond
	s := fmt.Sprintf("%s%02d:%02d:%02d", sign, seconds/3600, seconds/60%60, seconds%60)
	if fraction != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%06d", fraction), "0")
	}
	return s
}

// formatZone writes an offset with as many parts as it needs.
func formatZone(east int) string {
	sign := "+"
	if east < 0 {
		sign, east = "-", -east
	}
	s := fmt.Sprintf("%s%02d", sign, east/3600)
	if east%3600 != 0 {
		s += fmt.Sprintf(":%02d", east/60%60)
	}
	if east%60 != 0 {
		s += fmt.Sprintf(":%02d", east%60)
	}
	return s
}

// timeText is ISO 8601 and the forms that PostgreSQL writes: a date, a time, a
// zone and an era, each of them optional.
var timeText = regexp.MustCompile(`(?i)^(?:(\d{4,7})-(\d{1,2})-(\d{1,2})|(\d{4})(\d{2})(\d{2}))?` +
	`(?:(?:^|T|[ \t]+)(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d*))?)?)?` +
	`(?:[ \t]*(Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2}(?::?\d{2})?)?))?(?:[ \t]+(BC|AD))?$`)

// timeParts is what timeText found.
type timeParts struct {
	hasDate, hasTime bool
	year, month, day int // the year as time.Date counts
	micros           int64
	east             int
}

// readTime takes a text apart and checks that there is such a date and time.
func readTime(t Type, s string) (p timeParts, err error) {
	m := timeText.FindStringSubmatch(trimSpace(s))
	if m == nil {
		return p, badTime(t, s)
	}
	number := func(i int) int { n, _ := strconv.Atoi(m[i]); return n }
	p.hasDate, p.hasTime = m[1]+m[4] != "", m[7] != ""
	p.year, p.month, p.day = number(1)+number(4), number(2)+number(5), number(3)+number(6)
	hour, minute, second := number(7), number(8), number(9)
	fraction, _ := strconv.ParseFloat("0."+m[10]+"0", 64)
	p.micros = int64(hour*3600+minute*60+second)*microsPerSecond + int64(math.RoundToEven(fraction*microsPerSecond))
	p.east = readZone(m[11])
	switch {
	case minute >= 60, second > 60, p.micros > microsPerDay, p.hasDate && !p.fixDate(m[12]):
		return p, Errorf(CodeTimeRange, "date/time field value out of range: \"%s\"", s)
	case p.east <= -16*3600, p.east >= 16*3600:
		return p, Errorf("22009", "time zone displacement out of range: \"%s\"", s)
	case !p.hasDate && m[12] != "":
		return p, badTime(t, s)
	}
	return p, nil
}

// fixDate counts years as time.Date does, which has a year 0, and reports
// whether there is such a day.
func (p *timeParts) fixDate(era string) bool {
	if p.year == 0 {
		return false
	}
	if strings.EqualFold(era, "BC") {
		p.year = 1 - p.year
	}
	at := time.Date(p.year, time.Month(p.month), p.day, 0, 0, 0, 0, time.UTC)
	return at.Day() == p.day && int(at.Month()) == p.month
}

// readZone returns the seconds east of UTC.
func readZone(s string) int {
	digits := strings.ReplaceAll(strings.TrimLeft(s, "+-"), ":", "")
	if !isDigits(digits) { // none, or a name of UTC
		return 0
	}
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	east := 0
	for i, unit := 0, 3600; i < len(digits); i, unit = i+2, unit/60 {
		n, _ := strconv.Atoi(digits[i : i+2])
		east += n * unit
	}
	if s[0] == '-' {
		return -east
	}
	return east
}

func badTime(t Type, s string) *Error {
	return Errorf(CodeBadTime, "invalid input syntax for type %s: \"%s\"", syntaxName(t), s)
}

// infinities reads the special values that a date may be.
func infinities(s string) (int64, bool) {
	switch strings.ToLower(trimSpace(s)) {
	case "infinity", "+infinity":
		return infinitelyLate, true
	case "-infinity":
		return infinitelyEarly, true
	}
	return 0, false
}

func isEpoch(s string) bool { return strings.EqualFold(trimSpace(s), "epoch") }

func parseInstant(t Type, s string) (any, error) {
	if special, ok := infinities(s); ok {
		return instant(special), nil
	}
	if isEpoch(s) {
		return instantOf(1970, 1, 1, 0), nil
	}
	p, err := readTime(t, s)
	if err != nil {
		return nil, err
	}
	if !p.hasDate {
		return nil, badTime(t, s)
	}
	tooFar := Errorf(CodeTimeRange, "timestamp out of range: \"%s\"", s)
	if p.year < -4714 || p.year > 294277 { // before it overflows
		return nil, tooFar
	}
	i := instantOf(p.year, p.month, p.day, p.micros)
	if t.Base().typname == "timestamptz" {
		i -= instant(p.east) * microsPerSecond
	}
	if i = instant(roundTo(int64(i), t.mod)); i < firstInstant || i >= endInstant {
		return nil, tooFar
	}
	return i, nil
}

func parseDay(t Type, s string) (any, error) {
	if special, ok := infinities(s); ok {
		return day(special), nil
	}
	if isEpoch(s) {
		return day(0), nil
	}
	p, err := readTime(t, s)
	if err != nil {
		return nil, err
	}
	if !p.hasDate {
		return nil, badTime(t, s)
	}
	d := dayOf(p.year, p.month, p.day)
	if d < firstDay || d >= endDay {
		return nil, Errorf(CodeTimeRange, "date out of range: \"%s\"", s)
	}
	return d, nil
}

// parseClock reads a time of day; a date before it is not looked at.
func parseClock(t Type, s string) (zonedClock, error) {
	p, err := readTime(t, s)
	if err != nil {
		return zonedClock{}, err
	}
	if !p.hasTime {
		return zonedClock{}, badTime(t, s)
	}
	return zonedClock{clock: clock(roundTo(p.micros, t.mod)), east: p.east}, nil
}

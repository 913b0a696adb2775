package cdc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/transcript"
)

// parsed is a condition as the server understands it.
type parsed struct {
	column string
	not    bool
	op     string
	values []string // with <NULL> for a null in a list
}

// parseFilter reads a filter as the server does: conditions are separated by
// commas outside of parentheses and quotes; a quote opens after a dot, a
// parenthesis or a comma; the list of an in is an array literal of PostgreSQL.
func parseFilter(s string) ([]parsed, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var list []parsed
	for _, segment := range splitFilter(s) {
		p, err := parseCondition(strings.TrimSpace(segment))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", segment, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func splitFilter(s string) (segments []string) {
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case quoted:
			quoted = c != '"'
		case c == '"':
			quoted = i > start && strings.IndexByte(".(,", s[i-1]) >= 0
		case c == '(':
			depth++
		case c == ')':
			depth = max(0, depth-1)
		case c == ',' && depth == 0:
			segments = append(segments, s[start:i])
			start = i + 1
		}
	}
	return append(segments, s[start:])
}

func parseCondition(s string) (p parsed, err error) {
	var rest, value string
	var ok bool
	if p.column, rest, ok = strings.Cut(s, "="); !ok {
		return p, errors.New("no =")
	}
	rest, p.not = strings.CutPrefix(rest, "not.")
	if p.op, value, ok = strings.Cut(rest, "."); !ok {
		return p, errors.New("no operator")
	}
	switch p.op {
	case "eq", "neq", "lt", "lte", "gt", "gte", "like", "ilike", "match", "imatch", "isdistinct":
		p.values = []string{unquoteValue(value)}
	case "is":
		if !slices.Contains([]string{"null", "true", "false", "unknown"}, value) {
			return p, errors.New("is what?")
		}
		p.values = []string{value}
	case "in":
		if len(value) < 2 || value[0] != '(' || value[len(value)-1] != ')' {
			return p, errors.New("no parentheses")
		}
		p.values, err = parseArray(value[1 : len(value)-1])
		if len(p.values) > 100 {
			return p, errors.New("too many")
		}
	default:
		return p, errors.New("unknown operator")
	}
	return p, err
}

// unquoteValue takes the quotes off a value that is wholly in them.
func unquoteValue(s string) string {
	if len(s) < 2 || s[0] != '"' {
		return s
	}
	var out strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			out.WriteByte(s[i])
		case s[i] == '"' && i == len(s)-1:
			return out.String()
		case s[i] == '"':
			return s
		default:
			out.WriteByte(s[i])
		}
	}
	return s
}

// parseArray reads the inside of an array literal of PostgreSQL.
func parseArray(s string) (items []string, err error) {
	for {
		s = strings.TrimLeft(s, " \t\n\r\v\f")
		var item strings.Builder
		if strings.HasPrefix(s, `"`) {
			i := 1
			for ; i < len(s) && s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
				if i < len(s) {
					item.WriteByte(s[i])
				}
			}
			if i >= len(s) {
				return nil, errors.New("open quote")
			}
			items, s = append(items, item.String()), strings.TrimLeft(s[i+1:], " \t\n\r\v\f")
		} else {
			bare, _, _ := strings.Cut(s, ",")
			if bare == "" || strings.ContainsAny(bare, `{}"\`) {
				return nil, errors.New("malformed array literal")
			}
			s = s[len(bare):]
			if bare = strings.TrimRight(bare, " \t\n\r\v\f"); strings.EqualFold(bare, "null") {
				bare = "<NULL>"
			}
			items = append(items, bare)
		}
		if s == "" {
			return items, nil
		}
		if s[0] != ',' {
			return nil, errors.New("no comma")
		}
		s = s[1:]
	}
}

func TestFilterText(t *testing.T) {
	type level string
	when := time.Date(2024, 5, 1, 2, 3, 4, 567891234, time.FixedZone("", 2*3600))
	n := 5
	for want, f := range map[string]cdc.Filter{
		``:                                    {},
		`id=eq.1`:                             cdc.Eq("id", 1),
		`id=neq.1`:                            cdc.Neq("id", int64(1)),
		`id=lt.18446744073709551615`:          cdc.Lt("id", uint64(math.MaxUint64)),
		`id=lte.-5`:                           cdc.Lte("id", int8(-5)),
		`id=gt.5`:                             cdc.Gt("id", &n),
		`f=gte.0.1`:                           cdc.Gte("f", float32(0.1)),
		`f=gt.1e+300`:                         cdc.Gt("f", 1e300),
		`b=eq.true`:                           cdc.Eq("b", true),
		`level=eq.high`:                       cdc.Eq("level", level("high")),
		`price=eq.12345678901234567890.10`:    cdc.Eq("price", json.Number("12345678901234567890.10")),
		`n=eq.123456789012345678901234567890`: cdc.Eq("n", ptr(bigInt("123456789012345678901234567890"))),
		`uid=eq.6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11`:  cdc.Eq("uid", id),
		`uid=neq.6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11`: cdc.Neq("uid", &id),
		`s=eq.shown`:                        cdc.Eq("s", stringer{}),
		`m=eq.3`:                            cdc.Eq("m", time.March), // a Stringer, but an int first
		`ts=gt.2024-05-01T00:03:04.567891Z`: cdc.Gt("ts", when),
		`ts=lt.2024-05-01T00:03:04.567891Z`: cdc.Lt("ts", &when),
		`ts=neq.infinity`:                   cdc.Neq("ts", cdc.Infinity),
		`ts=neq.-infinity`:                  cdc.Neq("ts", cdc.NegInfinity),
		`name=eq.""`:                        cdc.Eq("name", ""),
		`name=eq."be,ta"`:                   cdc.Eq("name", "be,ta"),
		`name=eq." a"`:                      cdc.Eq("name", " a"),
		`name=eq."a` + "\u00a0" + `"`:       cdc.Eq("name", "a\u00a0"),
		`name=eq.a b`:                       cdc.Eq("name", "a b"),
		`name=eq."(a"`:                      cdc.Eq("name", "(a"),
		`name=eq."\"a\""`:                   cdc.Eq("name", `"a"`),
		`name=eq."a\\b"`:                    cdc.Eq("name", `a\b`),
		`name=eq.null`:                      cdc.Eq("name", "null"),
		`name=like.al%`:                     cdc.Like("name", "al%"),
		`name=ilike.AL_`:                    cdc.ILike("name", "AL_"),
		`name=match."^(a|b)\\d"`:            cdc.Match("name", `^(a|b)\d`),
		`name=imatch.^AL`:                   cdc.IMatch("name", "^AL"),
		`name=isdistinct.x`:                 cdc.IsDistinct("name", "x"),
		`note=is.null`:                      cdc.IsNull("note"),
		`active=eq.true`:                    cdc.Eq("active", true),
		`active=isdistinct.true`:            cdc.IsDistinct("active", true),
		`note=not.is.null`:                  cdc.Not(cdc.IsNull("note")),
		`id=eq.2`:                           cdc.Not(cdc.Not(cdc.Eq("id", 2))),
		`id=in.(1,3,5)`:                     cdc.In("id", 1, 3, 5),
		`id=not.in.(1,2)`:                   cdc.Not(cdc.In("id", 1, 2)),
		`name=in.(alpha,"be,ta")`:           cdc.In("name", "alpha", "be,ta"),
		`name=in.("null","","NULL","{}","a b","\\",nul)`: cdc.In("name", "null", "", "NULL", "{}", "a b", `\`, `nul`),
		`id=gt.1,id=lt.4,name=eq.x`:                      cdc.And(cdc.Gt("id", 1), cdc.And(cdc.Filter{}, cdc.Lt("id", 4)), cdc.Eq("name", "x")),
		`price (usd)=eq.1`:                               cdc.Eq("price (usd)", 1),
		`a.b c'd=eq.1`:                                   cdc.Eq("a.b c'd", 1),
	} {
		require.NoError(t, f.Err(), want)
		require.Equal(t, want, f.String())
		require.Equal(t, want == "", f.IsZero())
	}
}

type stringer struct{}

func (stringer) String() string { return "shown" }

type failing struct{}

func (failing) MarshalText() ([]byte, error) { return nil, errors.New("no text") }

func TestFilterMistakes(t *testing.T) {
	var none *int
	var nobody *big.Int
	var nowhere *uuid.UUID
	hundredOne := make([]any, 101)
	for i := range hundredOne {
		hundredOne[i] = i
	}
	two := cdc.And(cdc.Eq("a", 1), cdc.Eq("b", 2))
	const noValue = `cdc: filter on column "a": nil is no value: use IsNull or Not(IsNull)`
	const notText = `cdc: filter on column "a": a value is not text: it has a zero byte or is not UTF-8`
	for _, c := range []struct {
		f    cdc.Filter
		want string
	}{
		{cdc.In("a"), `cdc: filter on column "a": in takes 1 to 100 values, not 0`},
		{cdc.In("a", hundredOne...), `cdc: filter on column "a": in takes 1 to 100 values, not 101`},
		{cdc.In("a", 1, nil), noValue},
		{cdc.Eq("a", nil), noValue},
		{cdc.Eq("a", none), noValue},
		{cdc.Eq("a", nobody), noValue},
		{cdc.Eq("a", nowhere), noValue},
		{cdc.IsDistinct("a", nil), noValue},
		{cdc.Eq("a", math.NaN()), `cdc: filter on column "a": a float must be finite`},
		{cdc.Eq("a", float32(math.Inf(-1))), `cdc: filter on column "a": a float must be finite`},
		{cdc.Eq("a", []int{1}), `cdc: filter on column "a": []int is no value for a filter`},
		{cdc.Eq("a", struct{}{}), `cdc: filter on column "a": struct {} is no value for a filter`},
		{cdc.Eq("a", ptr(&none)), `cdc: filter on column "a": ***int is no value for a filter`},
		{cdc.Eq("a", failing{}), `cdc: filter on column "a": no text`},
		{cdc.Eq("a", json.Number("one")), `cdc: filter on column "a": json.Number one is not a number`},
		{cdc.Eq("a", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)), `cdc: filter on column "a": a time of the year 10000`},
		{cdc.Eq("a", "x\x00"), notText},
		{cdc.Eq("a", "\xff"), notText},
		{cdc.In("a", "x", "\xff"), notText},
		{cdc.Eq("", 1), `cdc: filter on column "": no column`},
		{cdc.IsNull(""), `cdc: filter on column "": no column`},
		{cdc.Not(two), `cdc: filter: not takes one condition, not 2`},
		{cdc.Not(cdc.Filter{}), `cdc: filter: not takes one condition, not 0`},
		{cdc.Not(cdc.In("a")), `cdc: filter on column "a": in takes 1 to 100 values, not 0`},
		{cdc.And(two, cdc.In("a"), cdc.Eq("", 1)), `cdc: filter on column "a": in takes 1 to 100 values, not 0`},
	} {
		require.EqualError(t, c.f.Err(), c.want)
		require.False(t, c.f.IsZero())
		_, err := parseFilter(c.f.String())
		require.Error(t, err, "the server must not take it for another filter")
	}
	for _, column := range []string{"a,b", "a=b", `a"b`, "a(", "a)", ")a(", " a", "a\u00a0", "a\x00", "\xff"} {
		require.EqualError(t, cdc.Eq(column, 1).Err(), fmt.Sprintf("cdc: filter on column %q: a filter cannot name this column", column))
	}
}

func TestNotAndAndLeaveTheirFiltersAlone(t *testing.T) {
	f := cdc.Eq("a", 1)
	g := cdc.And(f, cdc.Eq("b", 2))
	cdc.Not(f)
	cdc.And(g, cdc.Eq("c", 3))
	h := cdc.And(g, cdc.Eq("d", 4))
	require.Equal(t, "a=eq.1", f.String())
	require.Equal(t, "a=eq.1,b=eq.2", g.String())
	require.Equal(t, "a=eq.1,b=eq.2,d=eq.4", h.String())
}

// TestFilterAsRecorded builds the filters that a real server was asked for.
func TestFilterAsRecorded(t *testing.T) {
	uid := uuid.MustParse("11111111-1111-4111-8111-111111111111")
	built := []cdc.Filter{
		cdc.Eq("id", 1), cdc.Neq("id", 1), cdc.Lt("id", 3), cdc.Lte("id", 3), cdc.Gt("id", 3), cdc.Gte("id", 3), cdc.In("id", 1, 3, 5),
		cdc.Eq("name", "alpha"), cdc.In("name", "alpha", "be,ta"), cdc.Like("name", "al%"), cdc.ILike("name", "AL%"), cdc.IsNull("note"), cdc.Eq("active", true),
		cdc.Not(cdc.IsNull("note")), cdc.Match("name", "^al"), cdc.IMatch("name", "^AL"), cdc.IsDistinct("note", "x"), cdc.Not(cdc.Eq("id", 1)),
		cdc.And(cdc.Gt("id", 1), cdc.Lt("id", 4)), cdc.Gte("price", 10.5), cdc.Eq("uid", uid), cdc.Gt("ts", utc(2024, 1, 1, 0, 0, 0, 0)), cdc.Eq("active", true),
		cdc.Eq("note", "null"), cdc.Eq("name", "be,ta"), cdc.Eq("name", ""), {}, cdc.Not(cdc.In("name", "alpha")), cdc.Not(cdc.In("id", 1, 2)), cdc.Eq("qty", 5),
	}
	tr, err := transcript.Load("04-filters.vsn2")
	require.NoError(t, err)
	var recorded []string
	for _, l := range tr.Lines {
		if note, ok := strings.CutPrefix(l.Frame, fmt.Sprintf("f%d: ", len(recorded))); ok && l.Dir == "note" {
			recorded = append(recorded, note)
		}
	}
	require.Len(t, recorded, len(built))
	for i, want := range recorded {
		switch want { // the same to the server, and plainer
		case "name=eq.":
			want = `name=eq.""`
		case "active=is.true":
			want = "active=eq.true"
		}
		require.Equal(t, want, built[i].String())
	}
}

// TestC44QuotedValuesComeBack: whatever a value holds, the server reads the
// same column, operator and values.
func TestC44QuotedValuesComeBack(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		var f cdc.Filter
		var want []parsed
		for range 1 + random.IntN(3) {
			g, p := randomCondition(random)
			f, want = cdc.And(f, g), append(want, p)
		}
		if f.Err() != nil {
			continue
		}
		got, err := parseFilter(f.String())
		require.NoError(t, err, "%s", f)
		require.Equal(t, want, got, "%s", f)
	}
}

var hostile = []string{
	",", "(", ")", `"`, `\`, ".", "=", "{", "}", " ", "\t", "\n", "\u00a0", "\u2003", "null", "NULL", "not.", "in.", "eq.", "id=eq.1", "a", "é", "😀", "%", "'", "*",
}

func randomText(random *rand.Rand) string {
	var s strings.Builder
	for range random.IntN(6) {
		s.WriteString(hostile[random.IntN(len(hostile))])
	}
	return s.String()
}

func randomCondition(random *rand.Rand) (cdc.Filter, parsed) {
	p := parsed{column: "name", values: []string{randomText(random)}}
	if random.IntN(4) == 0 {
		p.column = randomText(random)
	}
	ops := map[string]func(string, any) cdc.Filter{"eq": cdc.Eq, "neq": cdc.Neq, "lt": cdc.Lt, "isdistinct": cdc.IsDistinct}
	patterns := map[string]func(string, string) cdc.Filter{"like": cdc.Like, "imatch": cdc.IMatch}
	names := []string{"eq", "neq", "lt", "isdistinct", "like", "imatch", "in", "in"}
	p.op = names[random.IntN(len(names))]
	var f cdc.Filter
	switch {
	case ops[p.op] != nil:
		f = ops[p.op](p.column, p.values[0])
	case patterns[p.op] != nil:
		f = patterns[p.op](p.column, p.values[0])
	default:
		values := []any{p.values[0]}
		for range random.IntN(3) {
			s := randomText(random)
			p.values, values = append(p.values, s), append(values, s)
		}
		f = cdc.In(p.column, values...)
	}
	if random.IntN(3) == 0 && f.Err() == nil {
		f, p.not = cdc.Not(f), true
	}
	return f, p
}

func FuzzFilter(f *testing.F) {
	f.Add("name", `a,"b`, "c")
	f.Add("price (usd)", "null", "")
	f.Add("a", " {", "\u2003)")
	f.Fuzz(func(t *testing.T, column, a, b string) {
		filter := cdc.And(cdc.Eq(column, a), cdc.Not(cdc.In(column, a, b)), cdc.Like("x", b))
		if filter.Err() != nil {
			return
		}
		got, err := parseFilter(filter.String())
		if err != nil {
			t.Fatalf("%s: %v", filter, err)
		}
		require.Equal(t, []parsed{{column, false, "eq", []string{a}}, {column, true, "in", []string{a, b}}, {"x", false, "like", []string{b}}}, got)
		if strings.TrimFunc(column, unicode.IsSpace) != column {
			t.Fatalf("column %q would be trimmed", column)
		}
	})
}

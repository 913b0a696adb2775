package mockserver

import (
	"context"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/cputime"
)

// ratOf returns the number as exact arithmetic has it.
func ratOf(t *testing.T, d decimal) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(d.String())
	require.True(t, ok, d.String())
	return r
}

// Numbers are compared, rounded and written as exact arithmetic does it.
func TestDecimal_ExactArithmetic(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	number := func() string {
		digits := func(n int) string {
			b := make([]byte, r.IntN(n))
			for i := range b {
				b[i] = "0123456789"[r.IntN(10)]
				if r.IntN(3) == 0 {
					b[i] = "09"[r.IntN(2)]
				}
			}
			return string(b)
		}
		s := []string{"", "-", "+"}[r.IntN(3)] + digits(6) + "0" + "." + digits(6)
		if r.IntN(2) == 0 {
			s += "e" + []string{"", "-", "+"}[r.IntN(3)] + "0" + digits(2)
		}
		return s
	}
	for range 20_000 {
		text := number()
		d, err := parseDecimal(text)
		require.Nil(t, err, text)
		want, ok := new(big.Rat).SetString(text)
		require.True(t, ok)
		require.Zero(t, want.Cmp(ratOf(t, d)), "%s is written as %s", text, d)
		require.Equal(t, len(d.String()), d.length(), "%s", d)
		other, err := parseDecimal(number())
		require.Nil(t, err)
		require.Equal(t, ratOf(t, d).Cmp(ratOf(t, other)), d.compare(other), "%s and %s", d, other)

		scale := r.IntN(12) - 4
		unit := new(big.Rat).SetFrac(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(-scale, 0))), nil), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(scale, 0))), nil))
		q := new(big.Rat).Quo(new(big.Rat).Abs(want), unit)
		q.Add(q, big.NewRat(1, 2)) // halves away from zero
		whole := new(big.Int).Quo(q.Num(), q.Denom())
		rounded := new(big.Rat).Mul(new(big.Rat).SetInt(whole), unit)
		if want.Sign() < 0 {
			rounded.Neg(rounded)
		}
		require.Zero(t, rounded.Cmp(ratOf(t, d.round(scale))), "%s rounded to %d is %s", text, scale, d.round(scale))
	}
}

// Huge exponents cost memory in proportion to what was sent.
func TestDecimal_HugeExponents(t *testing.T) {
	numbers := strings.TrimSuffix(strings.Repeat("1e131071,", 500), ",")
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := parseJSON("[" + numbers + "]")
	require.ErrorContains(t, err, "54000")
	require.Positive(t, termSize([]byte("["+numbers+"]")))
	kept := make([]decimal, 10_000)
	for i := range kept {
		var err *Error
		kept[i], err = parseDecimal("1e131071")
		require.Nil(t, err)
		require.Zero(t, kept[i].compare(kept[0]))
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
	v, err := parseJSON("[1e131071, 1e-16383]")
	require.NoError(t, err)
	require.Len(t, appendJSONB(nil, v), 131072+2+16385+2)
}

// Nesting has PostgreSQL's limits.
func TestDeepNesting(t *testing.T) {
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	began := cputime.Used()
	_, err := parseJSON(deep)
	require.ErrorContains(t, err, "54001")
	list, err := parseType(Column{Type: "int4[]"})
	require.NoError(t, err)
	_, err = list.fromJSON([]byte(deep))
	require.ErrorContains(t, err, "number of array dimensions (7) exceeds the maximum allowed (6)")
	require.Less(t, cputime.Used()-began, time.Second)
	_, err = parseJSON(strings.Repeat("[", 5000) + `"` + strings.Repeat("[", 9000) + `"` + strings.Repeat("]", 5000))
	require.NoError(t, err)
}

// matchesSlowly is LIKE by its definition.
func matchesSlowly(pattern, text []rune) bool {
	switch {
	case len(pattern) == 0:
		return len(text) == 0
	case pattern[0] == '%':
		return matchesSlowly(pattern[1:], text) || len(text) > 0 && matchesSlowly(pattern, text[1:])
	case len(text) == 0:
		return false
	}
	return (pattern[0] == '_' || pattern[0] == text[0]) && matchesSlowly(pattern[1:], text[1:])
}

func TestLike_ByItsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	some := func(letters []rune, n int) string {
		b := make([]rune, r.IntN(n))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	for range 50_000 {
		pattern, text := some([]rune("ab%_é"), 8), some([]rune("abé"), 12)
		require.Equal(t, matchesSlowly([]rune(pattern), []rune(text)), newWildcards(pattern, '\\').matches(text), "%q like %q", text, pattern)
	}
	require.True(t, newWildcards(`a\%\_%`, '\\').matches("a%_x"))
	require.False(t, newWildcards(`a\%\_%`, '\\').matches("abcx"))
	long := "_" + strings.Repeat("a_", 100) + "b"
	text := strings.Repeat("a", 500) + "xb"
	require.Equal(t, matchesSlowly([]rune(long), []rune(text[300:])), newWildcards("%"+long, '\\').matches(text))
}

func TestLike_ManyWildcards(t *testing.T) {
	text := strings.Repeat("a", 7<<20)
	for _, pattern := range []string{strings.Repeat("%a", 200) + "%b", strings.Repeat("%_", 200) + "%b", strings.Repeat("a", 5000) + "%b%", "%" + strings.Repeat("a_", 100) + "b%"} {
		began := cputime.Used()
		require.False(t, newWildcards(pattern, '\\').matches(text))
		require.Less(t, cputime.Used()-began, 5*time.Second, pattern[:10])
	}
}

// A client that goes away ends its query.
func TestQueryEndsWithItsClient(t *testing.T) {
	s := Start(t, Config{InMemory: true, Tables: []Table{{Name: "t", Columns: []Column{{Name: "id", Type: "int8"}, {Name: "v", Type: "text"}}, PrimaryKey: []string{"id"}}}})
	rows := make([]Row, 200)
	for i := range rows {
		rows[i] = Row{"id": i, "v": strings.Repeat("a", 1<<20)}
	}
	require.NoError(t, s.Insert("t", rows...))
	for _, request := range [][2]string{
		{http.MethodGet, "/rest/v1/t?v=match." + strings.Repeat("(a?)", 500) + "b"},
		{http.MethodDelete, "/rest/v1/t?v=match." + strings.Repeat("(a?)", 500) + "b"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		r := httptest.NewRequestWithContext(ctx, request[0], request[1], nil)
		r.Header.Set("apikey", s.ServiceKey())
		w := httptest.NewRecorder()
		began := cputime.Used()
		s.answerREST(w, r, 0)
		cancel()
		require.Contains(t, w.Body.String(), "57014")
		require.Less(t, cputime.Used()-began, 5*time.Second)
	}
}

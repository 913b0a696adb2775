package pgtype

import (
	"math/big"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/cputime"
)

// ratOf returns the number as exact arithmetic has it.
func ratOf(t *testing.T, d Decimal) *big.Rat {
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
	_, err := ParseJSON("[" + numbers + "]")
	require.ErrorContains(t, err, "54000")
	kept := make([]Decimal, 10_000)
	for i := range kept {
		var err *Error
		kept[i], err = parseDecimal("1e131071")
		require.Nil(t, err)
		require.Zero(t, kept[i].compare(kept[0]))
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
	v, err := ParseJSON("[1e131071, 1e-16383]")
	require.NoError(t, err)
	require.Len(t, AppendJSONB(nil, v), 131072+2+16385+2)
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
		require.Equal(t, matchesSlowly([]rune(pattern), []rune(text)), NewPattern(pattern, '\\').Matches(text), "%q like %q", text, pattern)
	}
	require.True(t, NewPattern(`a\%\_%`, '\\').Matches("a%_x"))
	require.False(t, NewPattern(`a\%\_%`, '\\').Matches("abcx"))
	long := "_" + strings.Repeat("a_", 100) + "b"
	text := strings.Repeat("a", 500) + "xb"
	require.Equal(t, matchesSlowly([]rune(long), []rune(text[300:])), NewPattern("%"+long, '\\').Matches(text))
}

func TestLike_ManyWildcards(t *testing.T) {
	text := strings.Repeat("a", 7<<20)
	for _, pattern := range []string{strings.Repeat("%a", 200) + "%b", strings.Repeat("%_", 200) + "%b", strings.Repeat("a", 5000) + "%b%", "%" + strings.Repeat("a_", 100) + "b%"} {
		began := cputime.Used()
		require.False(t, NewPattern(pattern, '\\').Matches(text))
		require.Less(t, cputime.Used()-began, 5*time.Second, pattern[:10])
	}
}

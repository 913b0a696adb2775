package cdc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// Without the types, text that reads like a value of a type that poisons is
// refused unless it is a Literal.
func TestFilterFor_UnknownTypes(t *testing.T) {
	for _, text := range []string{"{cat}", "{}", "(1,2)", "()", `"a"=>"1"`, `\xcafe`, `\x`, `\xCAFE`} {
		for name, f := range map[string]cdc.Filter{
			"eq": cdc.Eq("c", text), "not": cdc.Not(cdc.Neq("c", text)), "in": cdc.In("c", "fine", text), "isdistinct": cdc.IsDistinct("c", text),
			"and": cdc.And(cdc.Eq("id", 1), cdc.Gt("c", text)), "in with a literal": cdc.In("c", cdc.Literal("fine"), text),
		} {
			require.NoError(t, f.Err())
			_, err := f.For("t", nil)
			var e *cdc.ColumnError
			require.ErrorAs(t, err, &e, "%s %s", name, text)
			require.Equal(t, cdc.ColumnError{Table: "t", Column: "c", Reason: e.Reason}, *e)
			require.Contains(t, err.Error(), "cdc.Literal")
		}
		for _, f := range []cdc.Filter{cdc.Eq("c", cdc.Literal(text)), cdc.In("c", cdc.Literal(text), cdc.Literal("x")), cdc.Match("c", "^(a)$"), cdc.Like("c", "(a)")} {
			same, err := f.For("t", nil)
			require.NoError(t, err)
			require.Equal(t, f, same)
		}
	}
	for _, text := range []string{"", "{", "a{b}", "(a", "(a)b", `\x0`, `\xzz`, "a\\x00", "[1,2]", "[1,10)"} {
		_, err := cdc.Eq("c", text).For("t", nil)
		require.NoError(t, err, text)
	}
	_, err := cdc.In("c").For("t", nil)
	require.ErrorContains(t, err, "in takes 1 to 100 values")
}

// With the types, text is what the type makes of it.
func TestFilterFor_KnownTypes(t *testing.T) {
	columns := []cdc.Column{{Name: "s", Type: "text"}, {Name: "b", Type: "bytea"}, {Name: "d", Type: "a domain"}, {Name: "a", Type: "_text"}}
	for want, f := range map[string]cdc.Filter{
		`s=eq.{cat}`:                       cdc.Eq("s", "{cat}"),
		`s=eq."\\xcafe"`:                   cdc.Eq("s", `\xcafe`),
		`b=eq.cafe`:                        cdc.Eq("b", `\xCAFE`),
		`b=in.(cafe,"")`:                   cdc.In("b", []byte{0xca, 0xfe}, []byte{}),
		`b=not.is.null`:                    cdc.Not(cdc.IsNull("b")),
		`d=eq."\\xcafe"`:                   cdc.Eq("d", []byte{0xca, 0xfe}),
		`elsewhere=eq.x`:                   cdc.Eq("elsewhere", "x"),
		`s=gt.a,b=lt.00`:                   cdc.And(cdc.Gt("s", "a"), cdc.Lt("b", []byte{0})),
		`b=in.(` + `ca` + `,` + `fe` + `)`: cdc.In("b", `\xca`, `\xfe`),
	} {
		got, err := f.For("t", columns)
		require.NoError(t, err, want)
		require.Equal(t, want, got.String())
		again, err := got.For("t", nil)
		require.NoError(t, err, "it has been seen to")
		require.Equal(t, got, again)
	}
	for want, f := range map[string]cdc.Filter{
		`cdc: table t column "b" (bytea): a filter on a bytea takes a []byte`:                                                                                                                                cdc.Eq("b", "cafe"),
		`cdc: table t column "s" (text): []byte is a value for a bytea`:                                                                                                                                      cdc.Eq("s", []byte("x")),
		`cdc: table t column "a" (_text): the server takes the filter is on this type, and then fails on each change of the table, for every subscriber of the project`:                                      cdc.IsNull("a"),
		`cdc: table t column "d" (a domain): text that reads like an array, a composite or an hstore, on which a filter stops the changes of everybody: cdc.Literal says that the column is of another type`: cdc.And(cdc.Eq("s", "x"), cdc.Eq("d", "(1,2)")),
	} {
		_, err := f.For("t", columns)
		require.EqualError(t, err, want)
	}
}

// A bytea has its \x for PostgREST and for SQL, and not for Realtime.
func TestFilter_Bytes(t *testing.T) {
	f := cdc.Eq("b", []byte{0xca, 0xfe})
	require.Equal(t, "b=eq.cafe", f.String())
	q, err := f.Query()
	require.NoError(t, err)
	require.Equal(t, `eq.\xcafe`, q.Get("b"))
	c, err := f.Conditions()
	require.NoError(t, err)
	require.Equal(t, []cdc.Condition{{Column: "b", Op: "eq", Values: []string{`\xcafe`}}}, c)
	bytes := []byte{1}
	require.Equal(t, cdc.Eq("b", bytes), cdc.Eq("b", &bytes))
	require.ErrorContains(t, cdc.Eq("b", []byte(nil)).Err(), "nil is no value")
	require.ErrorContains(t, cdc.In("b", []byte{1}, "x").Err(), "[]byte and other values")
	require.ErrorContains(t, cdc.In("b", "x", []byte{1}).Err(), "[]byte and other values")
}

// The server takes a pattern that ends with a lone backslash, and then fails.
func TestFilter_LikeEndsWithBackslash(t *testing.T) {
	for pattern, fine := range map[string]bool{`a\`: false, `\`: false, `a\\\`: false, `a\\`: true, `a\%`: true, "": true} {
		require.Equal(t, fine, cdc.Like("c", pattern).Err() == nil, pattern)
		require.Equal(t, fine, cdc.ILike("c", pattern).Err() == nil, pattern)
	}
	require.NoError(t, cdc.Match("c", `\d`).Err())
}

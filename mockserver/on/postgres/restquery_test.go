package postgres

import (
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/rest"
)

var (
	quotedName = regexp.MustCompile(`"(?:[^"]|"")*"`)
	sqlWord    = regexp.MustCompile(`[a-z_]+`)
)

// sqlWords are all that SQL made of a query has outside of quotes.
var sqlWords = []string{
	"select", "as", "from", "where", "order", "by", "asc", "desc", "nulls", "first", "last", "and", "or", "not", "is", "null", "true", "false",
	"unknown", "any", "all", "like", "ilike", "distinct", "int", "text", "regconfig", "to_jsonb", "to_tsvector", "to_tsquery", "plainto_tsquery",
	"phraseto_tsquery", "websearch_to_tsquery",
}

// FuzzSQL holds that whatever a query says is in SQL as a name in quotes or a
// parameter, and in no other way.
func FuzzSQL(f *testing.F) {
	for _, seed := range []string{
		"", "select=a,b:c::text&id=eq.1", `select="x\"; drop table t; --"`, "or=(a.eq.1,not.and(b.is.null,c.in.(1,2)))", `"a'b"=like.x*`,
		"order=a.desc.nullsfirst,\"b;\"", "a=match.^x$&b=not.isdistinct.1", "a=in.(\"x\",'y')", "a=eq.$1", "a=eq.'; drop table t; --",
		`select=a->b->>"x'y"::int,b->0&a->>"';"=cs.{1}&order=a->-1->>b.desc`, "a=fts('x).y&b=wfts.z", "a=like(any).{x,*}&b=eq(all).{1}", "a=not.ov.(1,2)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, err := rest.ParseQuery(raw)
		if err != nil {
			return
		}
		casts := map[string]string{}
		for _, item := range r.Selects {
			casts[item.Cast] = "int" // PostgreSQL's own name of it, never the request's
		}
		table := &relation{schema: "s", name: "t", sql: quoteName("s", "t"), columns: []relationColumn{{name: "a"}}}
		q := &sqlQuery{}
		q.WriteString("select " + q.selection(table, r.Selects, casts) + " from " + table.sql)
		q.WriteString(q.where(table, r) + q.orderBy(table, r.Order))
		sql := q.String()
		require.NotContains(t, sql, "\x00")
		left := quotedName.ReplaceAllString(sql, " ")
		require.Regexp(t, `^[a-z_ ,.()<>=~*:$0-9@&|-]*$`, left, sql)
		for _, word := range sqlWord.FindAllString(left, -1) {
			require.True(t, slices.Contains(sqlWords, word), "%q in %s", word, sql)
		}
		for i := range q.args {
			require.Regexp(t, `\$`+strconv.Itoa(i+1)+`(?:[^0-9]|$)`, left)
		}
		require.NotContains(t, left, "$"+strconv.Itoa(len(q.args)+1))
	})
}

func TestArrayLiteral(t *testing.T) {
	require.Equal(t, `{}`, arrayLiteral(nil))
	require.Equal(t, `{"a","b\"c","d\\","null",""}`, arrayLiteral([]string{"a", `b"c`, `d\`, "null", ""}))
}

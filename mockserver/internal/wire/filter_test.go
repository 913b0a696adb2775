package wire

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// FuzzParseFilters holds that no filter makes the parser panic, and that what
// it reads is a filter that it would read again.
func FuzzParseFilters(f *testing.F) {
	for _, seed := range []string{
		"", "id=eq.1", "id=gt.1, id=lt.4", `t=in.(a,"b,c")`, `t=not.eq."a\"b"`, "a=eq.1,", "undefined", "=.", `t=eq.x"`, `t=eq."x`, `t=eq."x\`, "t=in.(", "t=in.)(", "t=is.null",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		filters, err := ParseFilters(filter)
		if err != nil {
			require.Empty(t, filters)
			return
		}
		for _, read := range filters {
			require.Contains(t, FilterOperators, read.Op)
			again, err := ParseFilters(filterString(read))
			require.NoError(t, err)
			if plain := strings.TrimSpace(read.Column) == read.Column && !strings.ContainsAny(read.Column, `=,()."`); plain {
				require.Equal(t, []project.Filter{read}, again, "%q", filterString(read))
			}
		}
		_ = InspectFilters(filters)
	})
}

// filterString writes the filter so that it can be read again.
func filterString(f project.Filter) string {
	op := f.Op
	if f.Negate {
		op = "not." + op
	}
	if f.Op == "in" {
		return f.Column + "=" + op + "." + "(" + f.Value[1:len(f.Value)-1] + ")"
	}
	quoted := regexp.MustCompile(`["\\]`).ReplaceAllString(f.Value, `\$0`)
	return f.Column + "=" + op + `."` + quoted + `"`
}

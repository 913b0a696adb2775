package memdb

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Clients make up patterns: none takes long or panics.
func TestHostilePatterns(t *testing.T) {
	require.False(t, namePattern(strings.Repeat("%", 5000)+"x"+strings.Repeat("%_", 500)).Matches(strings.Repeat("y", 200)))
	require.True(t, namePattern(strings.Repeat("%", 5000)).Matches("y"))
	text, err := pgtype.ParseType(pgtype.Column{Type: "text"})
	require.NoError(t, err)
	table := &table{columns: []tableColumn{{Field: pgtype.Field{Name: "t", Type: text}}}, byName: map[string]int{"t": 0}}
	may := func(int) bool { return true }
	long, err := newPredicate(table, project.Filter{Column: "t", Op: "like", Value: strings.Repeat("%_", 2_000_000)}, may)
	require.NoError(t, err)
	_, err = long.matches([]byte(`"short"`))
	require.NoError(t, err)
	for _, pattern := range []string{strings.Repeat(".", 4_900_000), strings.Repeat("(a{1000}){1000}", 10), "("} {
		_, err = newPredicate(table, project.Filter{Column: "t", Op: "match", Value: pattern}, may)
		require.Error(t, err)
	}
}

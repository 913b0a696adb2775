package mockserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/cputime"
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// Nesting has PostgreSQL's limits.
func TestDeepNesting(t *testing.T) {
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	began := cputime.Used()
	_, err := pgtype.ParseJSON(deep)
	require.ErrorContains(t, err, "54001")
	list, err := pgtype.ParseType(pgtype.Column{Type: "int4[]"})
	require.NoError(t, err)
	_, err = list.FromJSON([]byte(deep))
	require.ErrorContains(t, err, "number of array dimensions (7) exceeds the maximum allowed (6)")
	require.Less(t, cputime.Used()-began, time.Second)
	_, err = pgtype.ParseJSON(strings.Repeat("[", 5000) + `"` + strings.Repeat("[", 9000) + `"` + strings.Repeat("]", 5000))
	require.NoError(t, err)
}

// A client that goes away ends its query.
func TestQueryEndsWithItsClient(t *testing.T) {
	s := Start(t, Config{InMemory: true, Tables: []memdb.Table{{Name: "t", Columns: []pgtype.Column{{Name: "id", Type: "int8"}, {Name: "v", Type: "text"}}, PrimaryKey: []string{"id"}}}})
	rows := make([]memdb.Row, 200)
	for i := range rows {
		rows[i] = memdb.Row{"id": i, "v": strings.Repeat("a", 1<<20)}
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
		s.rest.Answer(w, r, 0)
		cancel()
		require.Contains(t, w.Body.String(), "57014")
		require.Less(t, cputime.Used()-began, 5*time.Second)
	}
}

package postgres_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// The inspector shows the tables of the database as service_role sees them.
func TestInspector(t *testing.T) {
	t.Parallel()
	s := postgres.Start(t, postgres.Options{DatabaseURL: database(t), Config: mockserver.Config{Timing: mockserver.Fast(), Inspector: true}, Schema: shop + `
		create table pairs (b int, "A" int, note text, primary key ("A", b));
		insert into pairs (b, "A", note) values (1, 2, 'sb_secret_123'), (2, 1, null);
		revoke all on hidden from service_role;`})
	a := api{t: t, s: s}
	a.do("GET", "/inspect/rows?table=pairs", "").want(t, 200, `{"columns":["b","A","note"],"rows":[["2","1",null],["1","2","\"sb_secret_[redacted]\""]],"count":2}`)
	a.do("GET", "/inspect/rows?table=other.things&offset=-1", "").want(t, 200, `{"columns":["id"],"rows":[],"count":0}`)
	for _, none := range []string{"hidden", "auth.users", `pairs"; drop table pairs; --`, ""} {
		require.Equal(t, 404, a.do("GET", "/inspect/rows?table="+url.QueryEscape(none), "").status, none)
	}

	state := stateOf(t, s)
	var names []string
	for _, table := range state.Tables {
		names = append(names, table.Schema+"."+table.Name)
	}
	require.Equal(t, []string{"public.orders", "public.owned", "public.pairs", "other.things"}, names)
	require.Equal(t, []string{"A", "b"}, state.Tables[2].PrimaryKey)
	require.True(t, state.Tables[1].RLS)
	require.Equal(t, "numeric(12,2)", state.Tables[0].Columns[2].Type)
	require.NotZero(t, state.Commits)
}

type inspectorState struct {
	Commits uint64
	Tables  []struct {
		Schema, Name string
		RLS          bool
		PrimaryKey   []string `json:"primary_key"`
		Columns      []struct{ Name, Type string }
	}
}

// stateOf returns what a page is told first.
func stateOf(t *testing.T, s *postgres.Server) (state inspectorState) {
	answer, err := s.HTTPClient().Get(s.URL() + "/inspect/events")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if lines.Text() != "event: state" {
			continue
		}
		require.True(t, lines.Scan())
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), &state))
		return state
	}
	require.FailNow(t, "no state", "%v", lines.Err())
	return state
}

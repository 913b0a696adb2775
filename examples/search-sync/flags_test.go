package main

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// parse parses flags that are separated by blanks.
func parse(args string, environment map[string]string) (settings, string, error) {
	var errOut strings.Builder
	s, err := parseFlags(strings.Fields(args), func(name string) string { return environment[name] }, &errOut)
	return s, errOut.String(), err
}

func TestFlagsOfTheDemo(t *testing.T) {
	s, said, err := parse("", nil)
	require.NoError(t, err)
	require.Empty(t, said)
	require.Equal(t, "bleve", s.sink.Kind)
	require.Equal(t, 5, s.rate)
	require.Equal(t, 6*time.Second, s.runFor)
	require.Empty(t, s.project.URL)
}

func TestFlagsOfAProject(t *testing.T) {
	s, _, err := parse("-url https://ref.supabase.co -email a@b.c -table shop.orders -id number -fields title,body,price -search title -private=false"+
		" -sink elasticsearch -sink-url http://localhost:9200 -index orders",
		map[string]string{"SEARCH_SYNC_KEY": "key", "SEARCH_SYNC_PASSWORD": "password", "SEARCH_SYNC_SINK_KEY": "sink key"})
	require.NoError(t, err)
	require.Equal(t, Project{
		URL: "https://ref.supabase.co", Key: "key", Email: "a@b.c", Password: "password", Schema: "shop", Table: "orders",
		ID: "number", Fields: []string{"title", "body", "price"}, Search: []string{"title"}, Topic: "search-sync", Canary: time.Minute,
	}, s.project)
	require.Equal(t, SinkOptions{Kind: "elasticsearch", URL: "http://localhost:9200", Key: "sink key", Index: "orders"}, s.sink)

	s, _, err = parse("-url https://ref.supabase.co -key k -table t -fields a,b", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, s.project.Search)
	require.Equal(t, "public", s.project.Schema)
	require.True(t, s.project.Private)
}

func TestFlagsThatAreWrong(t *testing.T) {
	const project = "-url https://ref.supabase.co -key secret-key -table t -fields a "
	for args, want := range map[string]string{
		"-nonsense":                      "flag provided but not defined",
		"rest":                           `what is "rest"?`,
		"-table t":                       "-table is for a project of yours: give its -url",
		"-key k":                         "-key is for a project of yours",
		"-url https://x":                 "-url needs a -key",
		"-url https://x -key k":          "-url needs a -table",
		"-url https://x -key k -table t": "-url needs -fields",
		project + "-email a@b.c":         "-email needs the password in SEARCH_SYNC_PASSWORD",
		project + "-search b":            `-search has "b", which is not one of the -fields`,
		project + "-fields a,sync_hash":  `a column cannot be called "sync_hash"`,
		project + "-check":               "-check breaks connections",
		"-sink meilisearch":              "-sink meilisearch needs a -sink-url",
		"-sink solr":                     `there is no sink "solr"`,
		"-sink-url http://x":             "-sink bleve is in this process",
		"-sink meilisearch -sink-url localhost:7700":  "not of the form http://host:port",
		"-sink elasticsearch -sink-url http://u:pw@x": "has a password in it",
		"-rate -1":             "-rate -1",
		"-rate 100000":         "-rate 100000",
		"-settle -1s":          "cannot be negative",
		"-verify 1ms":          "-verify is a second at least",
		"-marker":              "-marker is for a project of yours",
		project + "-marker":    "-marker needs an -email",
		"-check -dir x":        "give no -dir",
		"-check -check-for 0s": "-check-for takes some time",
	} {
		_, said, err := parse(args, nil)
		require.Error(t, err, args)
		require.Contains(t, said, want, args)
		require.NotContains(t, said, "secret-key")
		require.NotContains(t, said, "pw@")
	}
	_, said, err := parse(project, map[string]string{"SEARCH_SYNC_PASSWORD": "secret password"})
	require.Error(t, err)
	require.Contains(t, said, "no -email")
	require.NotContains(t, said, "secret password")
}

func TestFlagsHelp(t *testing.T) {
	_, said, err := parse("-h", map[string]string{"SEARCH_SYNC_PASSWORD": "secret password", "SEARCH_SYNC_KEY": "secret-key"})
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, said, "SEARCH_SYNC_PASSWORD")
	require.NotContains(t, said, "secret")
}

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// settings are what the flags and the environment say.
type settings struct {
	project Project // without a URL: the demo
	sink    SinkOptions
	dir     string // where the index and the checkpoint are kept; empty: nowhere
	settle  time.Duration
	every   time.Duration // how often to verify; 0: never
	addr    string
	rate    int
	check   bool
	runFor  time.Duration // of the check
	seed    uint64        // of the check's faults; 0: any
	maxRows int           // of the demo's table; 0: all that there are
}

const usage = `search-sync keeps a search index in step with a table over Supabase Realtime.

Without -url it starts a project of its own in this process, with a table that
somebody keeps changing. From the environment it reads
  SEARCH_SYNC_KEY       the project's API key, if there is no -key
  SEARCH_SYNC_PASSWORD  the password for -email
  SEARCH_SYNC_SINK_KEY  the API key of the search server

`

// parseFlags reads the flags. It has written to errOut what is wrong with them
// when its error is flag.ErrHelp or any other.
func parseFlags(args []string, getenv func(string) string, errOut io.Writer) (settings, error) {
	var s settings
	var table, fields, search string
	f := flag.NewFlagSet("search-sync", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.Usage = func() {
		fmt.Fprint(errOut, usage)
		f.PrintDefaults()
	}
	f.StringVar(&s.project.URL, "url", "", "the project's `address`, such as https://ref.supabase.co")
	f.StringVar(&s.project.Key, "key", "", "the project's API `key`")
	f.StringVar(&s.project.Email, "email", "", "the `address` of the account to sign in with; none: with the rights of the key")
	f.StringVar(&table, "table", "", "the `name` of the table, or schema.name")
	f.StringVar(&s.project.ID, "id", "id", "the `column` of the primary key")
	f.StringVar(&fields, "fields", "", "the `columns` for the index, with commas between")
	f.StringVar(&search, "search", "", "the `columns` of them to search, the most important first; none: all")
	f.StringVar(&s.project.Topic, "topic", "search-sync", "the `topic` of the channel")
	f.BoolVar(&s.project.Private, "private", true, "whether the channel is private")
	f.BoolVar(&s.project.Marker, "marker", false, "whether the project has the SQL of package cache/sql installed; the demo does")
	f.StringVar(&s.dir, "dir", "", "the `folder` for what the next run begins with: the rows, and the index if that is bleve; none: begin anew")
	f.StringVar(&s.sink.Kind, "sink", "bleve", "the index: bleve (in this process), meilisearch or elasticsearch")
	f.StringVar(&s.sink.URL, "sink-url", "", "the `address` of the search server")
	f.StringVar(&s.sink.Index, "index", "", "the `name` of the index on it; none: the table's")
	f.DurationVar(&s.settle, "settle", time.Second, "how long a `transaction` may take from the log to the eyes of a reader; the demo needs none")
	f.DurationVar(&s.every, "verify", 0, "how often to compare with the table though there was no gap, and to repair; 0: never")
	f.StringVar(&s.addr, "addr", "127.0.0.1:8899", "the `address` of the page")
	f.IntVar(&s.rate, "rate", 5, "changes a second that the demo makes")
	f.BoolVar(&s.check, "check", false, "break the demo's connections for a while, then compare the index with the table, and exit")
	f.DurationVar(&s.runFor, "check-for", 6*time.Second, "how `long` -check makes changes")
	f.Uint64Var(&s.seed, "seed", 0, "the `number` that the faults of -check are made from; 0: any")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.project.Password, s.sink.Key = getenv("SEARCH_SYNC_PASSWORD"), getenv("SEARCH_SYNC_SINK_KEY")
	if s.project.Key == "" && s.project.URL != "" {
		s.project.Key = getenv("SEARCH_SYNC_KEY")
	}
	s.project.Fields, s.project.Search = names(fields), names(search)
	if len(s.project.Search) == 0 {
		s.project.Search = s.project.Fields
	}
	s.project.Schema, s.project.Table, s.project.Canary = "public", table, time.Minute
	if schema, name, ok := strings.Cut(table, "."); ok {
		s.project.Schema, s.project.Table = schema, name
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	err := s.verify(f.Args(), given)
	if err != nil {
		fmt.Fprintf(errOut, "search-sync: %v; see -h\n", err)
	}
	return s, err
}

// names splits a list at its commas.
func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// verify says what is missing, or does not go together.
func (s *settings) verify(rest []string, given map[string]bool) error {
	p := s.project
	if p.URL == "" {
		for _, name := range []string{"key", "email", "table", "id", "fields", "search", "topic", "private", "marker"} {
			if given[name] {
				return fmt.Errorf("-%s is for a project of yours: give its -url", name)
			}
		}
	}
	if err := s.sink.verify(); err != nil {
		return err
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("what is %q? There are only flags", rest[0])
	case s.rate < 0 || s.rate > 1000:
		return fmt.Errorf("-rate %d is not from 0 to 1000", s.rate)
	case s.settle < 0 || s.runFor <= 0:
		return errors.New("-settle cannot be negative, and -check-for takes some time")
	case s.every != 0 && s.every < time.Second:
		return errors.New("-verify is a second at least")
	case s.check && s.dir != "":
		return errors.New("-check makes a folder of its own: give no -dir")
	case s.check && p.URL != "":
		return errors.New("-check breaks connections, which it can do in the demo only: give no -url")
	case p.URL == "":
		return nil
	case p.Key == "":
		return errors.New("-url needs a -key, or one in SEARCH_SYNC_KEY")
	case p.Email != "" && p.Password == "":
		return errors.New("-email needs the password in SEARCH_SYNC_PASSWORD")
	case p.Email == "" && p.Password != "":
		return errors.New("there is a password in SEARCH_SYNC_PASSWORD but no -email")
	case p.Marker && p.Email == "":
		return errors.New("-marker needs an -email: a mark belongs to a user")
	case p.Table == "" || p.Schema == "":
		return errors.New("-url needs a -table")
	case len(p.Fields) == 0:
		return errors.New("-url needs -fields, the columns for the index")
	}
	return p.verifyColumns()
}

func (p Project) verifyColumns() error {
	for _, name := range p.Search {
		if !slices.Contains(p.Fields, name) {
			return fmt.Errorf("-search has %q, which is not one of the -fields", name)
		}
	}
	for _, name := range p.Fields {
		if slices.Contains([]string{idField, hashField, keyField}, name) {
			return fmt.Errorf("a column cannot be called %q: the index has a field of that name for itself", name)
		}
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/examples/internal/jobs"
	"github.com/gapless-go/gapless/realtime"
	"github.com/gapless-go/gapless/realtime/signin"
)

// Project says which table of which Supabase project, and as whom.
type Project struct {
	URL, Key        string
	Email, Password string // none: with the rights of the key
	Schema, Table   string
	ID              string   // the column of the primary key
	Fields          []string // the columns for the index
	Search          []string // those of them to search, the most important first
	Topic           string
	Private         bool
	Marker          bool          // whether the SQL of package cache/sql is installed
	Canary          time.Duration // how often a mark is written, if it is
	HTTPClient      *http.Client  // nil: http.DefaultClient
}

// follower is a Sync with what it needs.
type follower struct {
	sync   *Sync
	table  *cache.Table[string, row]
	client *realtime.Client
}

// follow opens the index, which is sink unless that is nil, and sets up the
// cache. Nothing is read from the project before run.
func follow(ctx context.Context, s settings, sink Sink, log *slog.Logger) (f *follower, err error) {
	f = &follower{sync: &Sync{Fields: s.project.Fields, Log: log}}
	if err := f.connect(s, log); err != nil {
		return nil, err
	}
	if f.sync.Sink = sink; sink != nil {
		return f, nil
	}
	s.sink.Search, s.sink.Retry = s.project.Search, newRetrying(nil, f.sync.Retrying)
	s.sink.Index, s.sink.Dir = cmp.Or(s.sink.Index, s.project.Table), s.dir
	if f.sync.Sink, err = openSink(ctx, s.sink); err != nil {
		_ = f.client.Close(context.Background())
		return nil, err
	}
	return f, nil
}

// connect makes the client and the cache.
func (f *follower) connect(s settings, log *slog.Logger) (err error) {
	p := s.project
	options := realtime.Options{URL: p.URL, Key: p.Key, HTTPClient: p.HTTPClient, Logger: log}
	if p.Email != "" {
		account, err := signin.New(signin.Options{
			URL: p.URL, Key: p.Key, Email: p.Email, Password: p.Password, HTTPClient: p.HTTPClient,
		})
		if err != nil {
			return err
		}
		options.Token = account.Token
	}
	if f.client, err = realtime.New(options); err != nil {
		return err
	}
	o, err := s.cacheOptions(f.client)
	if err == nil {
		f.table, err = cache.New(f.client, p.Table, keyIn(p.ID), o...)
	}
	if err != nil {
		_ = f.client.Close(context.Background())
	}
	f.sync.Table = f.table
	return err
}

// cacheOptions says what is cached, and how exactly.
func (s settings) cacheOptions(client *realtime.Client) ([]cache.Option, error) {
	p := s.project
	var private []channel.Option
	if p.Private {
		private = append(private, channel.Private())
	}
	o := []cache.Option{
		cache.WithSchema(p.Schema), cache.WithPrimaryKey(p.ID), cache.WithColumns(p.Fields...),
		cache.WithChannel(p.Topic, private...), cache.WithSettle(s.settle),
	}
	if p.Marker {
		o = append(o, cache.WithMarker(cache.NewMarker(client)), cache.WithCanary(p.Canary, markPatience))
	}
	if s.every > 0 {
		o = append(o, cache.WithVerify(s.every))
	}
	if s.dir == "" {
		return o, nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	return append(o, cache.WithCheckpoint(cache.File(filepath.Join(s.dir, "rows")), 0)), nil
}

// markPatience is how long a mark may take.
const markPatience = 5 * time.Second

// Run keeps the cache equal to the table, and the index equal to the cache.
func (f *follower) Run(ctx context.Context) error { return jobs.Together(ctx, f.table.Run, f.sync.Run) }

// Close ends the connection and closes the index. Run must have returned.
func (f *follower) Close() {
	_ = f.client.Close(context.Background())
	_ = f.sync.Sink.Close()
}

package main

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"

	"github.com/gapless-go/gapless/channel"
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
	HTTPClient      *http.Client // nil: http.DefaultClient
}

// follower is a Sync with what it needs.
type follower struct {
	sync    *Sync
	client  *realtime.Client
	channel *channel.Channel
}

// follow sets up the stream and the table. Nothing is read before sync.Run, nor
// before open, which is to be called in between.
func follow(s settings, log *slog.Logger) (*follower, error) {
	f := &follower{sync: &Sync{Settle: s.settle, Every: s.every, Log: log}}
	return f, f.connect(s.project)
}

// open opens the index.
func (f *follower) open(ctx context.Context, s settings) (err error) {
	s.sink.Search, s.sink.Retry = s.project.Search, newRetrying(nil, f.sync.Retrying)
	s.sink.Index = cmp.Or(s.sink.Index, s.project.Table)
	f.sync.Sink, err = openSink(ctx, s.sink)
	return err
}

// connect makes the stream and the table.
func (f *follower) connect(p Project) (err error) {
	options := realtime.Options{URL: p.URL, Key: p.Key, HTTPClient: p.HTTPClient, Logger: f.sync.Log}
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
	var private []channel.Option
	if p.Private {
		private = append(private, channel.Private())
	}
	if f.channel, err = f.client.Channel(p.Topic, private...); err != nil {
		return err
	}
	if f.sync.Stream, err = f.channel.Subscribe(channel.Binding{Schema: p.Schema, Table: p.Table}); err != nil {
		return err
	}
	base := cmp.Or(p.HTTPClient, http.DefaultClient)
	f.sync.Table = &Table{
		URL: p.URL, Key: p.Key, Token: f.client.Token,
		Retry:  newRetrying(base.Transport, f.sync.Retrying),
		Schema: p.Schema, Name: p.Table, ID: p.ID, Fields: p.Fields, PageSize: 1000,
	}
	return nil
}

// Close ends the stream and closes the index. Run must have returned.
func (f *follower) Close() {
	_ = f.client.Close(context.Background())
	if f.sync.Sink != nil {
		_ = f.sync.Sink.Close()
	}
}

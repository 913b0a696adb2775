// Package postgres is the path that package mockserver/on/postgres had when it was
// a module of its own: whoever requires that module goes on to build. New code
// imports github.com/gapless-go/gapless/mockserver/on/postgres, which is part of
// the module gapless and needs no second requirement.
//
// Deprecated: use mockserver/on/postgres.
package postgres

import (
	"context"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

const (
	MinVersion = postgres.MinVersion
	Superuser  = postgres.Superuser
)

var (
	ErrNoBinaries = postgres.ErrNoBinaries
	ErrNoRight    = postgres.ErrNoRight
	ErrNotLogical = postgres.ErrNotLogical
	ErrTooOld     = postgres.ErrTooOld
)

type (
	Cluster        = postgres.Cluster
	ClusterOptions = postgres.ClusterOptions
	Database       = postgres.Database
	Options        = postgres.Options
	Server         = postgres.Server
)

// FindBinaries is that of mockserver/on/postgres.
func FindBinaries() (dir string, version int, err error) { return postgres.FindBinaries() }

// StartCluster is that of mockserver/on/postgres.
func StartCluster(ctx context.Context, opts ClusterOptions) (*Cluster, error) {
	return postgres.StartCluster(ctx, opts)
}

// New is that of mockserver/on/postgres.
func New(ctx context.Context, opts Options) (*Server, error) { return postgres.New(ctx, opts) }

// Start is that of mockserver/on/postgres.
func Start(tb mockserver.TB, opts Options) *Server { return postgres.Start(tb, opts) }

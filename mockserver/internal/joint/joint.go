// Package joint is how mockserver/on/postgres, a package above mockserver, starts
// a server on its database, without a function for it among those that users see.
package joint

import "github.com/gapless-go/gapless/mockserver/internal/project"

// New starts a *mockserver.Server with a mockserver.Config for the project of a
// database, which is to be closed after the server. Package mockserver sets it.
var New func(cfg any, db project.Database) (server any, err error)

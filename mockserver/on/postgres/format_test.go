package postgres_test

import (
	"testing"

	"github.com/gapless-go/gapless/internal/secret/secrettest"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// Every exported type of this module that holds a password or a key hides it in
// every format.
func TestModule_NothingPrintsASecret(t *testing.T) {
	o := secrettest.Fill[postgres.Options]()
	o.Cluster = *secrettest.Fill[postgres.ClusterOptions]()
	o.Config = mockserver.Config{JWTSecret: secrettest.Marker}
	values := []any{o, &o.Cluster}
	for _, v := range values {
		secrettest.Hides(t, v, false)
	}
	secrettest.Complete(t, ".", values)
}

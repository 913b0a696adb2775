package postgres_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// Servers on the databases of one cluster make the same roles, and may do so at
// once.
func TestServers_StartAtOnceOnOneCluster(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	urls := make([]string, 8)
	for i := range urls {
		urls[i] = pgtest.Create(t, cluster)
	}
	errs := make([]error, len(urls))
	var all sync.WaitGroup
	for i, url := range urls {
		all.Go(func() {
			s, err := postgres.New(t.Context(), postgres.Options{DatabaseURL: url})
			if err == nil {
				err = s.Close()
			}
			errs[i] = err
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
}

package jobs_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/gapless-go/gapless/examples/internal/jobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTogetherEndsWithTheFirstError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		err := jobs.Together(t.Context(),
			func(ctx context.Context) error { <-ctx.Done(); ended++; return ctx.Err() },
			func(context.Context) error { return nil },
			func(context.Context) error { time.Sleep(time.Second); return errors.New("broken") })
		require.EqualError(t, err, "broken")
		require.Equal(t, 1, ended)
		require.NoError(t, jobs.Together(t.Context(), func(context.Context) error { return nil }))
	})
}

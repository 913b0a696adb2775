package again_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/examples/internal/again"
)

func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]time.Duration{
			"": 0, "60": time.Minute, "-5": 0, "soon": 0, "99999999999": 0, "1.5": 0,
			time.Now().Add(time.Minute).UTC().Format(http.TimeFormat):  time.Minute,
			time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
		} {
			require.Equal(t, want, again.After(http.Header{"Retry-After": {text}}), text)
		}
	})
}

func TestJitter(t *testing.T) {
	const least, longest = 250 * time.Millisecond, 15 * time.Second
	for n, most := range map[int]time.Duration{0: least, 3: 8 * least, 6: longest, 1000: longest} {
		var seen time.Duration
		for range 1000 {
			d := again.Jitter(n, least, longest)
			require.GreaterOrEqual(t, d, time.Duration(0))
			require.Less(t, d, most)
			seen = max(seen, d)
		}
		require.Greater(t, seen, most*9/10, "attempt %d never waits long", n)
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, again.Sleep(t.Context(), time.Hour))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, again.Sleep(ctx, time.Hour), context.DeadlineExceeded)
	})
}

// Package backoff computes how long to wait before trying again. It never
// sleeps.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Full returns the delay before attempt n (the first is 0) with full jitter:
// uniform between 0 and min·2ⁿ, at most max. Full jitter spreads a crowd of
// clients that lost the same server better than a fixed or a half random step.
func Full(n int, min, max time.Duration) time.Duration {
	ceiling := max
	if n < 30 && min<<n < max { // beyond 30 doublings every min is over every sane max
		ceiling = min << n
	}
	if ceiling <= 0 {
		return 0
	}
	return rand.N(ceiling)
}

// Package backoff computes how long to wait before trying again. It never
// sleeps.
package backoff

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Full returns the delay before attempt n (the first is 0) with full jitter:
// uniform between 0 and least·2ⁿ, at most most. Full jitter spreads a crowd of
// clients that lost the same server better than a fixed or a half random step.
func Full(n int, least, most time.Duration) time.Duration {
	ceiling := least
	for ; n > 0 && 0 < ceiling && ceiling < most; n-- {
		ceiling += min(ceiling, most-ceiling) // which cannot overflow
	}
	ceiling = min(ceiling, most)
	if ceiling <= 0 {
		return 0
	}
	return time.Duration(draw(int64(ceiling)))
}

// seeded is what is drawn from in the place of chance, nil but in tests that
// have to be repeatable.
var seeded atomic.Pointer[source]

type source struct {
	mu   sync.Mutex
	rand *rand.Rand
}

// Seed makes what Full returns, in the whole program, follow from a seed; 0:
// from chance again. It is for tests.
func Seed(seed uint64) {
	if seed == 0 {
		seeded.Store(nil)
		return
	}
	seeded.Store(&source{rand: rand.New(rand.NewPCG(seed, 0))})
}

func draw(n int64) int64 {
	s := seeded.Load()
	if s == nil {
		return rand.Int64N(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.Int64N(n)
}

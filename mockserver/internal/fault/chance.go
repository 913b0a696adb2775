package fault

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Chance is a source of what is left to chance, repeatable from a seed. Each
// goroutine that draws has one of its own, so that what one draws does not
// depend on when another one did. It is safe for concurrent use all the same.
type Chance struct {
	mu sync.Mutex
	r  *rand.Rand
}

// The streams of a seed. A socket's is StreamSockets and its number.
const (
	StreamFaults = iota
	StreamPollers
	StreamSchedules
	StreamSockets = 1 << 32
)

// NewChance returns one stream of those that a seed has.
func NewChance(seed, stream uint64) *Chance {
	return &Chance{r: rand.New(rand.NewPCG(seed, stream))}
}

// Between returns a random time from low to high.
func (c *Chance) Between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return low + time.Duration(c.r.Int64N(int64(high-low)))
}

// Shuffled returns n indexes in an order that is not theirs, if there is
// another.
func (c *Chance) Shuffled(n int) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	order := c.r.Perm(n)
	for i, at := range order {
		if i != at {
			return order
		}
	}
	for i := range order {
		order[i] = (i + 1) % n
	}
	return order
}

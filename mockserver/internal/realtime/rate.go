package realtime

import (
	"sync"
	"time"
)

// maxSamples is over how many ticks the server's rates are averages.
const maxSamples = 12

// rateCounter counts events as the real server does: every tick it looks at the
// mean of the last minute (less right after it began), and is over its limit
// until the next tick if that was at or above it. Short bursts are fine, and to
// recover takes up to a minute. It is safe for concurrent use.
type rateCounter struct {
	limit int // events per second; 0: none, and nothing is counted
	tick  time.Duration

	mu      sync.Mutex
	started time.Time
	ticks   int64 // that have passed since
	samples []int // of the last ticks, the newest last
	count   int   // since the last tick
}

// begin sets the counter up, before it is used.
func (c *rateCounter) begin(limit int, tick time.Duration) {
	c.limit, c.tick, c.started = limit, tick, time.Now()
}

// tickNow makes the first tick now, of which there is nothing to count yet.
func (c *rateCounter) tickNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started, c.ticks, c.samples, c.count = time.Now(), 0, []int{0}, 0
}

// add counts events.
func (c *rateCounter) add(n int) {
	if c.limit == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUp()
	c.count += n
}

// exceeded reports whether the rate is over its limit.
func (c *rateCounter) exceeded() bool { return c.limit > 0 && c.mean() >= float64(c.limit) }

// mean returns events per second.
func (c *rateCounter) mean() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUp()
	if len(c.samples) == 0 {
		return 0
	}
	sum := 0
	for _, n := range c.samples {
		sum += n
	}
	return float64(sum) / (float64(len(c.samples)) * c.tick.Seconds())
}

// catchUp takes the samples of the ticks that have passed.
func (c *rateCounter) catchUp() {
	passed := int64(time.Since(c.started) / c.tick)
	if passed-c.ticks > maxSamples { // all that is older is forgotten anyway
		c.samples, c.count, c.ticks = nil, 0, passed-maxSamples
	}
	for ; c.ticks < passed; c.ticks++ {
		c.samples = append(c.samples, c.count)
		if len(c.samples) > maxSamples {
			c.samples = c.samples[1:]
		}
		c.count = 0
	}
}

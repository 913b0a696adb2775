package mockserver

import "time"

// maxSamples is over how many ticks the server's rates are averages.
const maxSamples = 12

// rateCounter counts events as the real server does: every tick it looks at the
// mean of the last minute (less right after it began), and is over its limit
// until the next tick if that was at or above it. Short bursts are fine, and to
// recover takes up to a minute. It is not safe for concurrent use.
type rateCounter struct {
	limit   float64 // events per second; 0: none
	tick    time.Duration
	started time.Time
	ticks   int64 // that have passed
	samples []int // of the last ticks, the newest last
	count   int   // since the last tick
	over    bool
}

// add counts events.
func (c *rateCounter) add(n int) { c.count += n }

// exceeded reports whether the rate is over its limit.
func (c *rateCounter) exceeded(now time.Time) bool {
	if c.limit == 0 {
		return false
	}
	passed := int64(now.Sub(c.started) / c.tick)
	for ; c.ticks < passed; c.ticks++ {
		if passed-c.ticks > maxSamples { // all that is older is forgotten anyway
			c.samples, c.count, c.ticks = nil, 0, passed-maxSamples
		}
		c.sample()
	}
	return c.over
}

func (c *rateCounter) sample() {
	c.samples = append(c.samples, c.count)
	if len(c.samples) > maxSamples {
		c.samples = c.samples[1:]
	}
	c.count = 0
	sum := 0
	for _, n := range c.samples {
		sum += n
	}
	c.over = float64(sum)/(float64(len(c.samples))*c.tick.Seconds()) >= c.limit
}

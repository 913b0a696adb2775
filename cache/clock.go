package cache

import "time"

const (
	// clockEvery is how often the clocks are compared.
	clockEvery = 5 * time.Second
	// maxJump is how much the clock on the wall may gain before the process is
	// taken to have been suspended: the socket may look alive after that, and
	// what it should have brought is gone.
	maxJump = 30 * time.Second
)

// clock compares the clock on the wall with the monotonic one, which stands
// still while the machine sleeps.
type clock struct{ before time.Time }

func newClock(now time.Time) clock { return clock{now} }

// jumped reports whether the wall's clock has gained on the other since it was
// asked last.
func (c *clock) jumped(now time.Time) bool {
	wall := now.Round(0).Sub(c.before.Round(0)) // Round drops the monotonic reading
	passed := now.Sub(c.before)
	c.before = now
	return slept(wall, passed)
}

// slept reports whether the process was suspended in a time that was so long by
// the clock on the wall, and so long by the monotonic one.
func slept(wall, passed time.Duration) bool { return wall-passed > maxJump }

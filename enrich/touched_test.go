package enrich_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/enrich"
)

// slow runs a join whose consumer takes the next output when it is allowed to.
type slow struct {
	in    *hand[int]
	table *rig[int, string]
	gate  chan struct{}
	got   chan string
}

func newSlow(t *testing.T, l enrich.Lookup[int, int, string]) *slow {
	s := &slow{in: newHand[int](), table: newRig[int, string](t, nil), gate: make(chan struct{}), got: make(chan string, 1000)}
	l.Table, l.Key = s.table.table, func(n int) (int, bool) { return n, n >= 0 }
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		for o, err := range enrich.Join(s.in.stream, l)(ctx) {
			if err != nil {
				return
			}
			s.got <- fmt.Sprint(o.Left, " ", o.Right)
			select {
			case <-s.gate:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return s
}

func (s *slow) put(k int, row string) {
	s.table.steps <- func(e *cache.Editor[int, string]) { e.Put(k, row, cache.CauseStream) }
	synctest.Wait()
}

func (s *slow) remove(k int) {
	s.table.steps <- func(e *cache.Editor[int, string]) { e.Delete(k, cache.CauseStream) }
	synctest.Wait()
}

// next returns the output that is there; none is waited for.
func (s *slow) next() string {
	synctest.Wait()
	select {
	case o := <-s.got:
		return o
	default:
		return "none"
	}
}

// others changes so many other rows that the feed waits for the consumer.
func (s *slow) others() {
	s.table.steps <- func(e *cache.Editor[int, string]) {
		for k := range 200 {
			e.Put(1000+k, "other", cache.CauseStream)
		}
	}
	synctest.Wait()
}

func (s *slow) event(n int) {
	s.in.values <- n
	synctest.Wait()
}

// A row that is given as it was for a moment, and is what it was before by the time
// that the join hears of it, is given again.
func TestJoin_ReemitsARowThatChangedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, enrich.Lookup[int, int, string]{Miss: enrich.Null(), Reemit: &enrich.Reemit{For: time.Hour, Max: 100}})
		s.put(1, "before")
		s.event(-1)
		s.others()
		s.put(1, "in between")
		s.event(1)
		s.gate <- struct{}{}
		require.Equal(t, "-1 ", s.next())
		require.Equal(t, "1 in between", s.next())
		s.put(1, "before")
		close(s.gate)
		require.Equal(t, "1 before", s.next())
	})
}

// A row that is gone for a moment, in which an event of it is parked, lets the event
// go when it is back, and not at the end of its time.
func TestJoin_ParkEndsWhenARowIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, enrich.Lookup[int, int, string]{Miss: enrich.Park(time.Hour, 100)})
		s.put(1, "there")
		s.event(-1)
		s.others()
		s.remove(1)
		s.event(1)
		s.event(-2)
		s.gate <- struct{}{}
		require.Equal(t, "-1 ", s.next())
		require.Equal(t, "-2 ", s.next())
		s.put(1, "there")
		close(s.gate)
		require.Equal(t, "1 there", s.next())
	})
}

// Whatever rows do while the consumer is slow: when all is at rest, the last output
// of each event has the row of the table, and no event whose row is there is parked.
func TestJoin_RestsOnTheTable(t *testing.T) {
	reemit := &enrich.Reemit{For: 10 * time.Hour, Max: 10_000}
	for seed := range uint64(500) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 13))
			l := enrich.Lookup[int, int, string]{Miss: enrich.Null(), Reemit: reemit}
			if seed%3 > 0 {
				l.Miss = enrich.Park(5*time.Hour, 10_000)
			}
			if seed%3 > 1 {
				l.Reemit = nil
			}
			s := newSlow(t, l)
			rows, events := map[int]string{0: "a", 1: "a"}, 1
			s.put(0, "a")
			s.put(1, "a")
			s.event(-1) // at which the consumer waits
			s.others()
			for range 8 {
				k := r.IntN(2)
				switch r.IntN(6) {
				case 0:
					delete(rows, k)
					s.remove(k)
				case 1, 2:
					rows[k] = string(rune('a' + r.IntN(2)))
					s.put(k, rows[k])
				case 3:
					s.event(k)
					events++
				default:
					select {
					case s.gate <- struct{}{}:
						synctest.Wait()
					default:
					}
				}
			}
			close(s.gate)
			time.Sleep(time.Hour)
			synctest.Wait()
			last, outputs := map[string]string{}, 0
			for len(s.got) > 0 {
				outputs++
				o := <-s.got
				last[o[:1]] = o
			}
			for k := range 2 {
				o, given := last[fmt.Sprint(k)]
				if given && l.Reemit != nil {
					require.Equal(t, fmt.Sprint(k, " ", rows[k]), o, "seed %d", seed)
				}
			}
			if l.Reemit == nil && len(rows) == 2 {
				require.Equal(t, events, outputs, "seed %d: with all rows there, no event is parked", seed)
			}
		})
	}
}

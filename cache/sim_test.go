package cache_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/internal/backoff"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// A simulation is random writes and random faults at random times, drawn from a
// seed, against a Table of one of the levels, in virtual time. It is run as
//
//	go test ./cache -run TestSimulation -seeds 100000
//	go test ./cache -run TestSimulation -seed 4711 -v
//
// the second of which plays one seed again, and tells what was done.
var (
	simSeeds = flag.Int("seeds", envInt("GAPLESS_SEEDS", 300), "how many seeds TestSimulation plays")
	simFirst = flag.Uint64("first", uint64(envInt("GAPLESS_FIRST_SEED", 1)), "the first of them")
	simStep  = flag.Uint64("step", uint64(envInt("GAPLESS_SEED_STEP", 1)), "the distance from one to the next")
	simSeed  = flag.Uint64("seed", 0, "the one seed that TestSimulation plays; 0: all")
)

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		simulate(t, *simSeed)
		return
	}
	seed := *simFirst
	for range *simSeeds {
		if !simulate(t, seed) {
			return
		}
		seed += *simStep
	}
	t.Logf("%d schedules", *simSeeds)
}

func FuzzSimulation(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { simulate(t, seed) })
}

// visibleFaults are those that a client is told of, or that lose nothing. With
// them a Table with a Marker is exact at each mark, and one without converges.
var visibleFaults = []string{
	"kill-sockets", "close-sockets", "drain", "restart", "block-sockets", "mute-heartbeats", "refuse-upgrades", "limit-joins",
	"refuse-joins", "ignore-joins", "delay-joins", "delay-subscribed", "repeat-subscribed", "fail-subscriptions",
	"close-channels", "crash-channels", "resubscribe", "expire-tokens", "truncate-changes", "hide-commits", "limit-rows",
}

// markedFaults do harm without a Marker only: changes from before a gap that come
// behind its end cannot be told from others then, if they are later than the
// settle time.
var markedFaults = []string{"delay-changes"}

// hiddenFaults lose changes without a word, or show the table as it was.
var hiddenFaults = []string{
	"delay-slot", "fail-polls", "restart-database", "lose-slot", "stop-workers", "restart-workers", "exceed-rate",
	"drop-changes", "duplicate-changes", "reorder-changes", "omit-subscribed", "rest",
}

// sim is one simulation.
type sim struct {
	*testing.T
	seed   uint64
	level  int
	hidden bool // whether hidden faults, row level security, TRUNCATE and the like are in it
	rand   *rand.Rand
	server *mockserver.Server
	client *realtime.Client
	table  *cache.Table[int64, item]
	faults []mockserver.ScheduledFault
	ran    error // what Run returned
	unseen int64 // the row that a policy hides
	said   strings.Builder
}

// simulate plays a seed and reports whether it ended well.
func simulate(t *testing.T, seed uint64) bool {
	backoff.Seed(seed)
	defer backoff.Seed(0)
	s := &sim{seed: seed, level: int(seed % 4), hidden: seed/4%3 == 0, rand: rand.New(rand.NewPCG(seed, 1))}
	return t.Run("", func(t *testing.T) { // the name of its own, since a failure ends it
		synctest.Test(t, func(t *testing.T) {
			s.T = t
			s.play()
		})
	})
}

func (s *sim) play() {
	s.server = mockserver.Start(s, s.config())
	client, err := realtime.New(realtime.Options{URL: s.server.URL(), Key: s.server.AnonKey(), HTTPClient: s.server.HTTPClient(),
		Token: func(context.Context) (string, time.Time, error) {
			return s.server.UserToken(user, time.Hour), time.Time{}, nil
		}})
	s.must(err)
	s.client = client
	s.table, err = cache.New(client, "items", itemID, s.options()...)
	s.must(err)

	ctx, stop := context.WithCancel(s.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.ran = s.table.Run(ctx)
	}()
	s.Cleanup(func() {
		stop()
		<-ended
		_ = client.Close(context.Background())
	})
	replayed := s.replay(ctx)
	played := s.playFaults(ctx)
	s.write(ctx)
	<-played
	s.server.Heal()
	s.unseen = 0
	s.settle(ctx)
	view := s.table.View()
	stop()
	<-ended
	if !errors.Is(s.ran, context.Canceled) {
		s.fail("Run ended with %v", s.ran)
	}
	for _, feed := range replayed {
		if got := <-feed; !maps.Equal(got, contents(view)) {
			s.fail("a feed, replayed, is %v, and the view %v", got, contents(view))
		}
	}
}

func (s *sim) config() mockserver.Config {
	cfg := itemsConfig()
	cfg.Seed = s.seed
	items := &cfg.Tables[0]
	items.Columns[2].Toast = true
	if s.rand.IntN(2) == 0 {
		items.ReplicaIdentity = mockserver.IdentityFull
	}
	if s.hidden {
		items.RLS = true
		seen := func(_ mockserver.Claims, r mockserver.Row) bool { return r["owner"] != "other" }
		items.Select, items.Update = seen, seen
	}
	return cfg
}

func (s *sim) options() []cache.Option {
	o := []cache.Option{cache.WithPageSize(1 + s.rand.IntN(4))}
	if s.level >= 2 {
		o = append(o, cache.WithMarker(cache.NewMarker(s.client)), cache.WithCanary(5*time.Second, 5*time.Second))
	}
	if s.level == 3 {
		o = append(o, cache.WithVersion("ver"))
	}
	if s.level >= 1 && s.hidden {
		o = append(o, cache.WithVerify(time.Duration(20+s.rand.IntN(40))*time.Second, cache.ByRows))
	}
	return o
}

// replay carries out what feeds tell, from nothing.
func (s *sim) replay(ctx context.Context) []chan map[int64]item {
	feeds := []chan map[int64]item{make(chan map[int64]item, 1), make(chan map[int64]item, 1)}
	options := [][]cache.FeedOption{{cache.WithInitial()}, {cache.WithInitial(), cache.Buffered(1<<20, cache.Fail)}}
	for i, feed := range feeds {
		go func() {
			state := map[int64]item{}
			for c, err := range s.table.Changes(context.Background(), options[i]...) {
				switch {
				case err != nil || c.InitialEnd:
				case c.Op.String() == "DELETE":
					delete(state, c.Key)
				default:
					state[c.Key] = flatten(c.New)
				}
			}
			feed <- state
		}()
	}
	return feeds
}

const simTime = 20 * time.Second // in which writes and faults happen

func (s *sim) playFaults(ctx context.Context) (done chan struct{}) {
	names := visibleFaults
	if s.hidden || s.level >= 2 {
		names = slices.Concat(names, markedFaults)
	}
	if s.hidden {
		names = slices.Concat(names, hiddenFaults)
	}
	faults, err := mockserver.RandomFaults(s.seed, s.rand.IntN(6), simTime, names...)
	s.must(err)
	s.faults = faults
	done = make(chan struct{})
	go func() {
		defer close(done)
		_ = s.server.Play(ctx, faults) // the server is healed behind it in any case
	}()
	return done
}

// write writes, and looks at the cache behind some of the writes.
func (s *sim) write(ctx context.Context) {
	end := time.Now().Add(simTime)
	for range 4 + s.rand.IntN(18) {
		s.sleep(time.Until(end) / 8)
		if time.Now().After(end) {
			break
		}
		if s.level >= 2 && s.rand.IntN(6) == 0 {
			s.catchUp(ctx)
			continue
		}
		s.operation()
	}
	time.Sleep(time.Until(end))
}

func (s *sim) sleep(atMost time.Duration) {
	if atMost > 0 {
		time.Sleep(time.Duration(s.rand.Int64N(int64(atMost) * 2)))
	}
}

// operation is one transaction.
func (s *sim) operation() {
	err := s.server.Tx(func(tx *mockserver.Tx) error {
		for range 1 + s.rand.IntN(2) {
			if err := s.statement(tx); err != nil {
				return err
			}
		}
		return nil
	})
	s.must(err)
	if s.rand.IntN(60) == 0 { // a socket that takes its changes too slowly is killed
		s.note("limit backlog")
		s.server.LimitBacklog(64)
		s.server.BlockSockets(time.Second)
		time.AfterFunc(1500*time.Millisecond, func() { s.server.LimitBacklog(0) })
	}
	if s.hidden && s.rand.IntN(30) == 0 {
		s.note("truncate")
		s.must(s.server.Truncate("items"))
	}
	if s.hidden && s.rand.IntN(30) == 0 {
		where := mockserver.Row{}
		if s.unseen = 0; s.rand.IntN(2) == 0 {
			s.unseen = s.key()
			where["id"] = s.unseen
		}
		s.note("hide %v", where)
		s.must(s.server.HideRows("items", where))
	}
}

func (s *sim) key() int64 { return 1 + s.rand.Int64N(8) }

func (s *sim) statement(tx *mockserver.Tx) error {
	id := s.key()
	there, err := tx.Update("items", mockserver.Row{"ver": s.rand.Int64N(1 << 40)}, mockserver.Row{"id": id})
	if err != nil {
		return err
	}
	switch op := s.rand.IntN(10); {
	case there == 0:
		s.note("insert %d", id)
		return tx.Insert("items", s.row(id))
	case op == 0:
		s.note("delete %d", id)
		_, err = tx.Delete("items", mockserver.Row{"id": id})
	case op == 1:
		to := s.key()
		if n, err := tx.Delete("items", mockserver.Row{"id": to}); err != nil || n > 0 && to == id {
			return err
		}
		s.note("move %d to %d", id, to)
		_, err = tx.Update("items", mockserver.Row{"id": to}, mockserver.Row{"id": id})
	case op == 2 && s.hidden:
		s.note("hide %d", id)
		_, err = tx.Update("items", mockserver.Row{"owner": "other"}, mockserver.Row{"id": id})
	case op < 6:
		s.note("rename %d", id)
		_, err = tx.Update("items", mockserver.Row{"name": s.text()}, mockserver.Row{"id": id})
	default:
		s.note("rewrite %d", id)
		r := s.row(id)
		delete(r, "id")
		_, err = tx.Update("items", r, mockserver.Row{"id": id})
	}
	return err
}

func (s *sim) row(id int64) mockserver.Row {
	r := mockserver.Row{"id": id, "name": s.text(), "ver": s.rand.Int64N(1 << 40), "note": nil, "owner": "all"}
	switch s.rand.IntN(8) {
	case 0, 1, 2:
		r["note"] = s.text()
	case 3:
		r["note"] = long + s.text()
	}
	return r
}

// long is stored out of line.
var long = strings.Repeat("x", 2100)

func (s *sim) text() string { return strconv.Itoa(s.rand.IntN(1000)) }

// catchUp holds the cache against the table at a mark. Nothing is written
// meanwhile.
func (s *sim) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	s.note("catch up")
	if err := s.table.CatchUp(ctx); err != nil {
		s.fail("CatchUp: %v; status %+v", err, s.table.Status())
	}
	if got, want := contents(s.table.View()), s.rows(); !s.hidden && !maps.Equal(got, want) {
		s.fail("behind a mark the cache is\n%v\nand the table\n%v\nstatus %+v", got, want, s.table.Status())
	}
}

// settle waits until the cache equals the table when nothing happens any more,
// and makes sure that it stays so.
func (s *sim) settle(ctx context.Context) {
	if s.level >= 2 {
		s.catchUp(ctx)
	}
	if s.level == 0 && s.hidden { // where nothing tells of the losses but another gap
		s.server.KillSockets()
	}
	equal := func() bool {
		return s.table.Phase() == cache.Synced && maps.Equal(contents(s.table.View()), s.rows())
	}
	for n, stays := 0, 0; stays < 3; n++ {
		if stays++; !equal() {
			stays = 0
		}
		if n == 200 {
			s.fail("in the end the cache is\n%v\nand the table\n%v\nstatus %+v", contents(s.table.View()), s.rows(), s.table.Status())
		}
		time.Sleep(2 * time.Second)
	}
}

// rows is the table as the user may see it.
func (s *sim) rows() map[int64]item {
	rows, err := s.server.Rows("items")
	s.must(err)
	all := map[int64]item{}
	for _, r := range rows {
		if r["id"] == s.unseen || s.hidden && r["owner"] == "other" {
			continue
		}
		i := item{ID: r["id"].(int64), Name: r["name"].(string), Owner: r["owner"].(string), Ver: r["ver"].(int64)}
		if note, ok := r["note"].(string); ok {
			i.Note = &note
		}
		all[i.ID] = flatten(i)
	}
	return all
}

// contents is what a view has. Rows are made comparable by ==.
func contents(v cache.View[int64, item]) map[int64]item {
	all := map[int64]item{}
	for k, i := range v.All() {
		all[k] = flatten(i)
	}
	return all
}

// flatten has the note in the name.
func flatten(i item) item {
	if i.Note != nil {
		i.Name += "/" + strings.ReplaceAll(*i.Note, long, "long ")
		i.Note = nil
	}
	return i
}

func (s *sim) note(format string, args ...any) {
	fmt.Fprintf(&s.said, "%v "+format+"\n", append([]any{time.Since(start)}, args...)...)
}

// start is when a bubble begins.
var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *sim) must(err error) {
	if err != nil {
		s.fail("%v", err)
	}
}

func (s *sim) fail(format string, args ...any) {
	s.Helper()
	s.Fatalf("seed %d, level %d, hidden faults %v: %s\n\nfaults:\n%v\n\nwrites:\n%s",
		s.seed, s.level, s.hidden, fmt.Sprintf(format, args...), s.faults, s.said.String())
}

package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	for _, seed := range failedSeeds {
		simulate(t, seed)
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

// failedSeeds are seeds that have found a fault.
var failedSeeds = []uint64{
	5_008_433, // rows change places behind a gap, and a page has shown them before their events come
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

// oddReads is a network in which, for a while, reads of the table are not answered,
// or one page is sent for another.
type oddReads struct {
	http.RoundTripper
	from, to time.Duration // since the start
	repeats  bool
}

func (o *oddReads) RoundTrip(r *http.Request) (*http.Response, error) {
	now := time.Since(start)
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/rest/v1/items") || now < o.from || now > o.to {
		return o.RoundTripper.RoundTrip(r)
	}
	if !o.repeats {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if q := r.URL.Query(); strings.HasPrefix(q.Get("id"), "gt.") {
		q.Del("id")
		r = r.Clone(r.Context())
		r.URL.RawQuery = q.Encode()
	}
	return o.RoundTripper.RoundTrip(r)
}

// simItem is a row with values that Realtime garbles.
type simItem struct {
	item
	Amount *float64 `json:"amount"`
	Code   *string  `json:"code"`
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
	table  *cache.Table[int64, simItem]
	faults []mockserver.ScheduledFault
	ran    error // what Run returned
	unseen int64 // the row that a policy hides
	ver    int64

	mu    sync.Mutex
	wrote []time.Time // when the hot row was updated; nil: there is none
	said  strings.Builder
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
	network := *s.server.HTTPClient()
	if s.rand.IntN(4) == 0 {
		odd := &oddReads{RoundTripper: network.Transport, from: time.Duration(s.rand.Int64N(int64(6 * time.Second))), repeats: s.rand.IntN(2) == 0}
		odd.to = odd.from + time.Duration(s.rand.Int64N(int64(4*time.Second)))
		s.note("from %v to %v reads are odd; repeated: %v", odd.from, odd.to, odd.repeats)
		network.Transport = odd
	}
	client, err := realtime.New(realtime.Options{URL: s.server.URL(), Key: s.server.AnonKey(), HTTPClient: &network,
		Token: func(context.Context) (string, time.Time, error) {
			return s.server.UserToken(user, time.Hour), time.Time{}, nil
		}})
	s.must(err)
	s.client = client
	s.table, err = cache.New(client, "items", func(i simItem) int64 { return i.ID }, s.options()...)
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
	cool := s.heat()
	s.write(ctx)
	<-played
	s.server.Heal()
	s.unseen = 0
	s.live(ctx)
	cool()
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
	items.Columns = append(items.Columns, mockserver.Column{Name: "amount", Type: "float8"}, mockserver.Column{Name: "code", Type: "character(3)"})
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
		o = append(o, cache.WithMarker(cache.NewMarker(s.client)), cache.WithCanary(5*time.Second, 5*time.Second),
			cache.WithSettle(2*time.Second)) // hide-commits hides them behind marks, too
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
func (s *sim) replay(ctx context.Context) []chan map[int64]simItem {
	feeds := []chan map[int64]simItem{make(chan map[int64]simItem, 1), make(chan map[int64]simItem, 1)}
	options := [][]cache.FeedOption{{cache.WithInitial()}, {cache.WithInitial(), cache.Buffered(1<<20, cache.Fail)}}
	for i, feed := range feeds {
		go func() {
			state := map[int64]simItem{}
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
	for i, f := range faults {
		if f.Name == "block-sockets" && s.level < 2 && !s.hidden { // less than the settle time, beyond which nothing is promised
			faults[i].Params = json.RawMessage(fmt.Sprintf(`{"for":"%dms"}`, 100+s.rand.IntN(1400)))
		}
	}
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

// hotKey is a row that is updated all the time in some simulations.
const hotKey = 9

// heat updates a row until cool is called: as often as continuously, with a value
// that is stored out of line and left alone, or is changed now and then, and
// values that Realtime garbles.
func (s *sim) heat() (cool func()) {
	if s.rand.IntN(2) == 0 {
		return func() {}
	}
	every := []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 1900 * time.Millisecond}[s.rand.IntN(4)]
	r := rand.New(rand.NewPCG(s.seed, 2))
	s.note("a row is updated every %v", every)
	s.must(s.server.Insert("items", mockserver.Row{"id": hotKey, "name": "hot", "note": long, "owner": "all", "ver": 0, "amount": nil, "code": "EUR"}))
	s.wrote = []time.Time{time.Now()}
	stop, cooled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(cooled)
		for n := int64(1); ; n++ {
			set := mockserver.Row{"ver": n}
			switch r.IntN(40) {
			case 0:
				set["note"] = long + strconv.FormatInt(n, 10)
			case 1:
				set["amount"] = []any{nil, "NaN", 2.5}[r.IntN(3)]
			case 2:
				set["code"] = []any{nil, "EEK", "EUR"}[r.IntN(3)]
			}
			if _, err := s.server.Update("items", set, mockserver.Row{"id": hotKey}); err == nil {
				s.mu.Lock()
				s.wrote = append(s.wrote, time.Now())
				s.mu.Unlock()
			}
			select {
			case <-time.After(every):
			case <-stop:
				return
			}
		}
	}()
	cool = sync.OnceFunc(func() { close(stop); <-cooled })
	s.Cleanup(cool) // of a simulation that fails before
	return cool
}

// written is how often the hot row has been updated, -1 if there is none.
func (s *sim) written() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.wrote) - 1)
}

// age is for how long the cache has not had the hot row as it is.
func (s *sim) age() time.Duration {
	row, there := s.table.Get(hotKey)
	s.mu.Lock()
	defer s.mu.Unlock()
	next := row.Ver + 1
	if !there {
		next = 0
	}
	if next >= int64(len(s.wrote)) {
		return 0
	}
	return time.Since(s.wrote[next])
}

// live makes sure that what is waited for comes, while a row is updated all the
// time and nothing goes wrong any more: the phase Synced, the end of CatchUp, and
// the row within its bound.
func (s *sim) live(ctx context.Context) {
	if s.written() < 0 || s.hidden { // a channel may be deaf then, and not know it
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 7*time.Minute)
	defer cancel()
	if err := s.table.WaitSynced(ctx); err != nil {
		s.fail("not synced while a row is updated all the time: %v; status %+v", err, s.table.Status())
	}
	time.Sleep(30 * time.Second) // sockets that are held up are not healed
	if err := s.table.WaitSynced(ctx); err != nil {
		s.fail("not synced: %v", err)
	}
	epoch := s.table.Status().Epoch
	for range 150 {
		time.Sleep(100 * time.Millisecond)
		st := s.table.Status()
		if st.Epoch == epoch && st.Phase == cache.Synced && s.age() > 12*time.Second {
			s.fail("synced, and the hot row is %v old; status %+v", s.age(), st)
		}
	}
	if s.level < 2 {
		return
	}
	start := time.Now()
	s.catchUp(ctx)
	if st := s.table.Status(); st.Epoch == epoch && time.Since(start) > 10*time.Second {
		s.fail("CatchUp took %v; status %+v", time.Since(start), st)
	}
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
		s.note("a poll times out")
		s.server.TimeOutPolls(1)
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

// next is a version, as of a sequence.
func (s *sim) next() int64 { s.ver++; return s.ver }

func (s *sim) key() int64 { return 1 + s.rand.Int64N(8) }

func (s *sim) statement(tx *mockserver.Tx) error {
	id := s.key()
	there, err := tx.Update("items", mockserver.Row{"ver": s.next()}, mockserver.Row{"id": id})
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
	case op == 2 && !s.hidden: // as a deferrable key lets them
		to := s.key()
		if there, err := tx.Update("items", mockserver.Row{"ver": s.next()}, mockserver.Row{"id": to}); err != nil || there == 0 || to == id {
			return err
		}
		s.note("swap %d and %d", id, to)
		for _, move := range [][2]int64{{id, 1000}, {to, id}, {1000, to}} {
			if _, err := tx.Update("items", mockserver.Row{"id": move[1], "ver": s.next()}, mockserver.Row{"id": move[0]}); err != nil {
				return err
			}
		}
	case op == 2:
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
	r := mockserver.Row{"id": id, "name": s.text(), "ver": s.next(), "note": nil, "owner": "all", "amount": 1.5, "code": nil}
	switch s.rand.IntN(6) {
	case 0:
		r["amount"] = nil
	case 1:
		r["amount"] = "NaN"
	case 2:
		r["code"] = []string{"EUR", "EEK", "USD"}[s.rand.IntN(3)]
	}
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
	hot := s.written()
	if slices.ContainsFunc(s.faults, func(f mockserver.ScheduledFault) bool { return f.Name == "hide-commits" }) {
		time.Sleep(2 * time.Second) // a database acknowledges a commit when readers see it; the fault does before
	}
	if err := s.table.CatchUp(ctx); err != nil {
		s.fail("CatchUp: %v; status %+v", err, s.table.Status())
	}
	got, want := contents(s.table.View()), s.rows()
	if hot > 0 && !s.hidden && got[hotKey].Ver < hot {
		s.fail("behind a mark the hot row is %v, and was %d before; status %+v", got[hotKey], hot, s.table.Status())
	}
	delete(got, hotKey)
	delete(want, hotKey)
	if !s.hidden && !maps.Equal(got, want) {
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
		return s.table.Phase() == cache.Synced && s.table.Status().Doubtful == 0 && maps.Equal(contents(s.table.View()), s.rows())
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
func (s *sim) rows() map[int64]simItem {
	rows, err := s.server.Rows("items")
	s.must(err)
	all := map[int64]simItem{}
	for _, r := range rows {
		if r["id"] == s.unseen || s.hidden && r["owner"] == "other" {
			continue
		}
		i := simItem{item: item{ID: r["id"].(int64), Name: r["name"].(string), Owner: r["owner"].(string), Ver: r["ver"].(int64)}}
		if amount, ok := r["amount"].(float64); ok {
			i.Amount = &amount
		}
		if code, ok := r["code"].(string); ok {
			i.Code = &code
		}
		if note, ok := r["note"].(string); ok {
			i.Note = &note
		}
		all[i.ID] = flatten(i)
	}
	return all
}

// contents is what a view has. Rows are made comparable by ==.
func contents(v cache.View[int64, simItem]) map[int64]simItem {
	all := map[int64]simItem{}
	for k, i := range v.All() {
		all[k] = flatten(i)
	}
	return all
}

// flatten has what is behind pointers in the name.
func flatten(i simItem) simItem {
	if i.Note != nil {
		i.Name += "/" + strings.ReplaceAll(*i.Note, long, "long ")
	}
	if i.Amount != nil {
		i.Name += fmt.Sprintf("/%v", *i.Amount)
	}
	if i.Code != nil {
		i.Name += "/" + *i.Code
	}
	i.Note, i.Amount, i.Code = nil, nil, nil
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

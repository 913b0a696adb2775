package postgres_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/internal/pgtest"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

// scenario says how a recorded conversation is played: without waiting for
// anything but what was recorded, with the fast timing, unless it says more.
//
// The differences between the recordings and the server under test that are
// accepted:
//
//   - ids of bindings, which are a hash that a server may choose; random ids of
//     messages; commit timestamps, and the age of an expired token; the order of
//     JSON keys, but for those of rows.
//   - the order of changes of different channels, and of what comes out of
//     different parts of the server, which is a matter of timing: messages of a
//     socket are compared by topic and kind, each in their order.
//   - timing.
//   - those that single scenarios name.
type scenario struct {
	name   string
	timing mockserver.Timing
	limits mockserver.Limits
	pace   int // how many times as fast as it was, with times of the server that are shorter by as much; 0: at once
	whole  func([]transcript.Line) []transcript.Line
	by     map[string]func(*player) // what is to be done at a note, or in the place of a statement
	own    bool                     // a cluster of its own, which may be stopped
	order  bool                     // messages of a socket are compared in their order
	either func(frame) bool         // messages that may come or not: an accepted difference
}

var scenarios = []scenario{
	{name: "02-private-postgres-changes-full.vsn1"},
	{name: "02-private-postgres-changes-full.vsn2"},
	{name: "03-private-postgres-changes-default.vsn1"},
	{name: "03-private-postgres-changes-default.vsn2"},
	{name: "04-filters.vsn2"},
	{name: "05-rls.vsn1"},
	{name: "06-privileges-errors.vsn1"},
	{name: "06-privileges-errors.vsn2"},
	{name: "07-multiple-bindings.vsn2"},
	{name: "08-broadcast.vsn1", limits: mockserver.Limits{PayloadKB: 3000}},
	{name: "08-broadcast.vsn2", limits: mockserver.Limits{PayloadKB: 3000}},
	{name: "10-tokens.vsn1", pace: 20, timing: mockserver.Timing{IdleTimeout: 3 * time.Second}},
	{name: "10-tokens.vsn2", pace: 20, timing: mockserver.Timing{IdleTimeout: 3 * time.Second}},
	// Two joins that are sent together come before the first one subscribes.
	{name: "12-duplicate-join.vsn1", pace: 20, timing: mockserver.Timing{Subscribed: 50 * time.Millisecond}},
	{name: "13-leave.vsn2", pace: 10},
	{name: "14-replay.vsn1", by: thirtyMessages},
	{name: "14-replay.vsn2", by: thirtyMessages},
	{name: "15-select.vsn2"},
	{name: "17-bad-bindings.vsn1"},
	{name: "18-restarts.vsn1", pace: 20, timing: mockserver.Timing{Poll: 100 * time.Millisecond}, own: true, by: restarts, whole: notedFirst},
	{name: "19-limits.vsn2", pace: 1, whole: flood, limits: mockserver.Limits{EventsPerSecond: 300},
		timing: mockserver.Timing{RateTick: 4 * time.Second, PollIdle: 20 * time.Millisecond}, either: aboutToReturn},
	{name: "20-transactions.vsn2", by: overlapping},
	{name: "21-refused-join-blocks.vsn1", pace: 10, order: true},
	{name: "21-refused-join-blocks.vsn2", pace: 10, order: true},
	// The rows are changed again before the server looks at them.
	{name: "22-rls-late-visibility.vsn2", timing: mockserver.Timing{JoinErrorDelay: -1}},
}

// withoutSQL are the recordings that are about the socket alone, which is that
// of package mockserver, and are played there: not one statement is in them.
var withoutSQL = []string{
	"01-join-public.vsn1", "01-join-public.vsn2", "09-presence.vsn2",
	"11-odd-messages.vsn1", "11-odd-messages.vsn2", "24-join-rate.vsn2",
}

// thirtyMessages are those of which the recording has the first three.
var thirtyMessages = map[string]func(*player){
	"select realtime.send(jsonb_build_object('n',3), 'ev', 'room:rp', true)": func(p *player) {
		for n := 3; n <= 30; n++ {
			p.exec(fmt.Sprintf("select realtime.send(jsonb_build_object('n',%d), 'ev', 'room:rp', true)", n))
		}
	},
}

// overlapping are the transactions that the recording only names.
var overlapping = map[string]func(*player){
	"overlapping: T1 inserts 4001, T2 inserts 4002 and commits, T1 inserts 4003 and commits": func(p *player) {
		p.other = p.connect()
		p.execOn(p.other, "begin; insert into t_items(id) values (4001)")
	},
	"T1 committed": func(p *player) { p.execOn(p.other, "insert into t_items(id) values (4003); commit") },
}

// restarts are what happened to the database, which happens to ours, too, and
// to the server, which are its faults. The slot comes back after a random time:
// what is delivered behind it is written when it is there.
var restarts = map[string]func(*player){
	"select pg_terminate_backend(active_pid) from pg_replication_slots where plugin='wal2json'": func(p *player) {
		p.exec("select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and slot_name like '" + slotName + "%'")
	},
	"insert into t_items(id) values (3)": inNewSlot("insert into t_items(id) values (3)"),
	"select count(pg_terminate_backend(pid)) from pg_stat_activity where usename='supabase_admin' and application_name like 'realtime%'": func(p *player) {
		p.exec("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and application_name like 'gapless%'")
	},
	"insert into t_items(id) values (13)": inNewSlot("insert into t_items(id) values (13)"),
	"Postgres restarted (immediate: a fast stop waits forever for the broadcast walsender of the Realtime server)": func(p *player) {
		p.s.Cluster().Crash()
	},
	"Postgres is up": func(p *player) {
		require.NoError(p.t, p.s.Cluster().Start(p.t.Context()))
		p.db = p.connect()
	},
	"insert into t_items(id) values (25)": inNewSlot("insert into t_items(id) values (25)"),
	"server stopped with TERM":            func(p *player) { p.s.CloseSockets(1012) },
	"server is down":                      func(p *player) { p.s.RefuseUpgrades(503, "", -1) },
	"server is up":                        func(p *player) { p.s.RefuseUpgrades(503, "", 0) },
	"server killed":                       func(p *player) { p.s.KillSockets() },
	"POST /api/tenants/127/reload -> 204": func(p *player) { p.s.Drain() },
}

const slotName = "supabase_realtime_replication_slot"

// inNewSlot runs a statement when there is another slot than at the last time.
func inNewSlot(sql string) func(*player) {
	return func(p *player) {
		require.Eventually(p.t, func() bool {
			var slot string
			_ = p.db.QueryRow(p.t.Context(), "select slot_name from pg_replication_slots where active and confirmed_flush_lsn is not null and database = current_database() and slot_name like $1 || '%'", slotName).Scan(&slot)
			was := p.slot
			p.slot = cmp.Or(slot, was)
			return slot != "" && slot != was
		}, frameTimeout, time.Millisecond)
		p.exec(sql)
	}
}

// notedFirst puts the note that something was done before what came of it within
// the same millisecond.
func notedFirst(lines []transcript.Line) []transcript.Line {
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b transcript.Line) int {
		if a.MS == b.MS && a.Dir == "note" && b.Dir == "recv" {
			return -1
		}
		return int(a.MS - b.MS)
	})
	return lines
}

// flood is that of changes; the rest has no SQL. The server looks at its rate
// after 4 s, is over its limit then, and not any more after 8: with the limits
// of the recording, of 5 s and 100 changes a second, that took 30 s. What was
// written before, within and behind that time is written so here.
func flood(lines []transcript.Line) (played []transcript.Line) {
	const began, ended = 153_168, 260_852 // ms
	for _, l := range transcript.ChangeFlood(lines) {
		if l.MS >= began && l.MS <= ended {
			l.MS = squeezed(l.MS - began)
			played = append(played, l)
		}
	}
	return played
}

// squeezed returns when that is done which was done so many ms after the
// beginning.
func squeezed(ms int64) int64 {
	knots := [][2]int64{{0, 0}, {2_420, 300}, {4_900, 900}, {5_000, 4_500}, {29_500, 6_800}, {30_000, 8_400}, {107_700, 10_500}}
	i := slices.IndexFunc(knots, func(k [2]int64) bool { return k[0] >= ms })
	if i <= 0 {
		return 0
	}
	from, to := knots[i-1], knots[i]
	return from[1] + (ms-from[0])*(to[1]-from[1])/(to[0]-from[0])
}

// aboutToReturn are the single rows that were written as the rate came below its
// limit again. Which of them is the first to come is a matter of how far behind
// the server is.
func aboutToReturn(f frame) bool {
	for id := 20013; id <= 20016; id++ {
		if strings.Contains(string(f.raw), fmt.Sprintf(`"record":{"id": %d,`, id)) {
			return true
		}
	}
	return false
}

// TestTranscripts plays the clients and the SQL of recorded conversations with
// a real server, and wants from this one what that one said.
func TestTranscripts(t *testing.T) { // not beside other tests: some of them keep the times of a recording
	schema, err := os.ReadFile("../../../internal/transcript/testdata/schema.sql")
	require.NoError(t, err)
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			if sc.pace > 0 {
				t.Parallel() // they mostly wait
			}
			script, err := transcript.Load(sc.name)
			require.NoError(t, err)
			p := &player{t: t, sc: sc, sockets: map[string]*played{}, ids: map[string]string{}}
			options := postgres.Options{Schema: string(schema), Config: mockserver.Config{Timing: sc.times(), Limits: sc.limits,
				JWTSecret: mockserver.DefaultSecret}} // that of the tokens in the recordings
			if pgtest.Need(t); !sc.own {
				options.DatabaseURL = database(t)
			}
			p.s = postgres.Start(t, options)
			p.db, p.began = p.connect(), time.Now()
			p.play(sc.lines(script.Lines))
			p.compare()
		})
	}
}

// times returns the timing of the server.
func (sc scenario) times() mockserver.Timing {
	pace := time.Duration(sc.pace)
	switch {
	case pace > 0:
		return mockserver.Timing{
			Poll: cmp.Or(sc.timing.Poll, 100*time.Millisecond/pace), PollIdle: cmp.Or(sc.timing.PollIdle, 500*time.Millisecond/pace),
			RefuseDelay: 2 * time.Second / pace, JoinErrorDelay: 5 * time.Second / pace,
			// What is written before is to be read before, on a slow machine, too.
			ResubscribeMin: 500 * time.Millisecond, ResubscribeMax: 600 * time.Millisecond,
			RetryMin: 5 * time.Second / pace, RetryMax: 10 * time.Second / pace,
			RateTick:   cmp.Or(sc.timing.RateTick, 5*time.Second/pace),
			Subscribed: sc.timing.Subscribed, Publication: time.Minute / pace, IdleTimeout: sc.timing.IdleTimeout,
		}
	case sc.timing == mockserver.Timing{}:
		return mockserver.Fast()
	}
	return sc.timing
}

// lines returns what is played.
func (sc scenario) lines(lines []transcript.Line) []transcript.Line {
	if sc.whole == nil {
		return lines
	}
	return sc.whole(lines)
}

// Every recording that has SQL is played.
func TestEveryTranscriptWithSQLIsPlayed(t *testing.T) {
	played := slices.Clone(withoutSQL)
	for _, sc := range scenarios {
		played = append(played, sc.name)
	}
	slices.Sort(played)
	require.Equal(t, transcript.Names(), played)
	for _, name := range withoutSQL {
		script, err := transcript.Load(name)
		require.NoError(t, err)
		require.False(t, slices.ContainsFunc(script.Lines, func(l transcript.Line) bool { return l.Dir == "sql" }), name)
	}
}

package mockserver_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/transcript"
	"github.com/gapless-go/gapless/mockserver"
)

// scenario says how a recorded conversation is played.
type scenario struct {
	name   string
	timing mockserver.Timing
	limits mockserver.Limits
	from   time.Duration // where to begin, for what is played in parts
	until  time.Duration // where to stop; 0: nowhere
	// whole fills in what the recording leaves out; nil: nothing.
	whole func(*testing.T, []transcript.Line) []transcript.Line
	// by says what to do at statements and notes that no rule of sqlScript
	// translates; nil: nothing.
	by map[string]func(*testing.T, *mockserver.Server)
	// accepts are the differences that are accepted beside those of all
	// recordings.
	accepts []*difference
	// swept is the socket that the recording's server killed without a close
	// frame.
	swept string
	// written makes the messages whose recording is cut.
	written map[string]string
}

// difference is one between the recordings and the server under test that this
// test accepts. docs/transcripts.md lists all of them.
type difference struct {
	what   string
	reason string
	// skip tells recorded messages that the server under test does not send.
	skip func(l transcript.Line) bool
	// interleaved compares the messages of each topic, whatever came between
	// them on other topics.
	interleaved bool
	// repliesFirst moves replies before the diffs of presence that came just
	// before them.
	repliesFirst bool

	used bool // has made a difference, in this run
}

// Differences that are accepted in all recordings.
var everywhere = []*difference{
	{what: "ids of bindings, messages and presences", reason: "A binding's id is a hash that a server may choose; it is held to be the same where it was the same. The others are random, and held to come in the same places."},
	{what: "commit timestamps, and the age of an expired token", reason: "They are those of the run. Timestamps are held to be equal where they were equal."},
	{what: "the order of the members of JSON objects", reason: "It means nothing, and follows the version of Erlang. What PostgreSQL writes, which are columns and rows, is held to be the same to the byte."},
	{what: "the order of a socket's channels, for one change", reason: "The real server's follows a hash table. The order of the changes of each channel is held to be the same."},
	{what: "when messages come", reason: "The run is in virtual time. That a message comes too late for what follows it would show in the order."},
}

// Differences that are accepted in some. A scenario says which.
var (
	addedColumns = &difference{
		what: "changes of a column that was added to a table", reason: "A table of the mock server has the columns that it began with.",
		skip: func(l transcript.Line) bool { return strings.Contains(l.Frame, "c_added") },
	}
	numericTopic = &difference{
		what: "a reply whose topic is the number 5", reason: "The codec, which is the client's, too, takes topics that are strings, and drops the rest as malformed.",
		skip: func(l transcript.Line) bool {
			return strings.HasPrefix(l.Frame, `[null,"1",5,`) || strings.HasSuffix(l.Frame, `"topic":5}`)
		},
	}
	idleServer = &difference{
		what: "the order of messages of different topics", reason: "The recording began with an idle server, on which each channel tries to subscribe again after a random 1 to 3 s.",
		interleaved: true,
	}
	noServer = &difference{
		what: "a connection that is refused because there is no server", reason: "The mock server goes on to listen while it is down, and refuses upgrades with 503.",
		skip: func(l transcript.Line) bool { return l.Dir == "error" && l.Frame == "ECONNREFUSED" },
	}
	presenceDiffs = &difference{
		what: "whether a diff of presence comes before or behind the reply to what made it", reason: "Two processes send them, and the recording has it both ways.",
		repliesFirst: true,
	}
)

var scenarios = []scenario{
	{name: "01-join-public.vsn1"},
	{name: "01-join-public.vsn2"},
	{name: "02-private-postgres-changes-full.vsn1", by: everyType("t_full"), accepts: []*difference{addedColumns}},
	{name: "02-private-postgres-changes-full.vsn2", by: everyType("t_full"), accepts: []*difference{addedColumns}},
	{name: "03-private-postgres-changes-default.vsn1", by: everyType("t_def"), accepts: []*difference{addedColumns}},
	{name: "03-private-postgres-changes-default.vsn2", by: everyType("t_def"), accepts: []*difference{addedColumns}},
	{name: "04-filters.vsn2"},
	{name: "05-rls.vsn1"},
	{name: "06-privileges-errors.vsn1"},
	{name: "06-privileges-errors.vsn2"},
	{name: "07-multiple-bindings.vsn2"},
	{name: "08-broadcast.vsn1", limits: mockserver.Limits{PayloadKB: 3000}, by: broadcastChanges, written: large},
	{name: "08-broadcast.vsn2", limits: mockserver.Limits{PayloadKB: 3000}, by: broadcastChanges, written: large},
	{name: "09-presence.vsn2", accepts: []*difference{presenceDiffs}},
	{name: "10-tokens.vsn1"},
	{name: "10-tokens.vsn2"},
	{name: "11-odd-messages.vsn1", timing: mockserver.Timing{Sweep: 64 * time.Second}, swept: "a", accepts: []*difference{numericTopic}},
	{name: "11-odd-messages.vsn2", timing: mockserver.Timing{Sweep: 64 * time.Second}, swept: "a", accepts: []*difference{numericTopic}},
	{name: "12-duplicate-join.vsn1"},
	{name: "13-leave.vsn2"},
	{name: "14-replay.vsn1", by: thirtyMessages},
	{name: "14-replay.vsn2", by: thirtyMessages},
	{name: "15-select.vsn2"},
	{name: "17-bad-bindings.vsn1", accepts: []*difference{idleServer}},
	{name: "18-restarts.vsn1", by: restarts, swept: "c", accepts: []*difference{noServer}},
	{name: "19-limits.vsn2", limits: mockserver.RealisticLimits(), until: 261 * time.Second, whole: floods, accepts: []*difference{presenceDiffs}},
	{name: "19-limits.vsn2", limits: mockserver.Limits{ConcurrentUsers: 3, JoinsPerSecond: 1}, from: 261 * time.Second, whole: lowered, by: stops},
	{name: "20-transactions.vsn2", by: transactions},
	{name: "21-refused-join-blocks.vsn1"},
	{name: "21-refused-join-blocks.vsn2"},
	{name: "22-rls-late-visibility.vsn2"},
	{name: "24-join-rate.vsn2", limits: mockserver.Limits{JoinsPerSecond: 1}},
}

// broadcastChanges is what the trigger of t_bc does.
var broadcastChanges = map[string]func(*testing.T, *mockserver.Server){
	"insert into t_bc values (1,'b','hello')": changeRoom("INSERT", mockserver.Row{"id": 1, "room": "b", "body": "hello"}, nil),
	"update t_bc set body='changed' where id=1": changeRoom("UPDATE",
		mockserver.Row{"id": 1, "room": "b", "body": "changed"}, mockserver.Row{"id": 1, "room": "b", "body": "hello"}),
	"delete from t_bc": changeRoom("DELETE", nil, mockserver.Row{"id": 1, "room": "b", "body": "changed"}),
}

func changeRoom(operation string, after, before mockserver.Row) func(*testing.T, *mockserver.Server) {
	return func(t *testing.T, s *mockserver.Server) {
		require.NoError(t, s.BroadcastChanges("room:b", operation, operation, "t_bc", after, before))
	}
}

// thirtyMessages are those of which the recording has the first three.
var thirtyMessages = map[string]func(*testing.T, *mockserver.Server){
	"select realtime.send(jsonb_build_object('n',3), 'ev', 'room:rp', true)": func(t *testing.T, s *mockserver.Server) {
		for n := 3; n <= 30; n++ {
			require.NoError(t, s.RealtimeSend(map[string]int{"n": n}, "ev", "room:rp", true))
		}
	},
}

// large are the messages of which the recording has only the beginning.
var large = map[string]string{
	"3.1 MB": strings.Repeat("x", 3_100_000),
	"5.1 MB": strings.Repeat("x", 5_100_000),
}

// TestTranscripts plays the clients of recorded conversations with a real
// server, and wants from the mock what that one said, but for the differences
// that are accepted.
func TestTranscripts(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			script, err := transcript.Load(sc.name)
			require.NoError(t, err)
			script.Lines = sc.part(script.Lines)
			if sc.whole != nil {
				script.Lines = sc.whole(t, script.Lines)
			}
			cfg := recordedDatabase()
			cfg.Timing, cfg.Limits = sc.timing, sc.limits
			bubble(t, cfg, func(t *testing.T, s *mockserver.Server) {
				time.Sleep(time.Until(recordedAt(t, script)))
				p := &player{t: t, s: s, sc: sc, script: script, sockets: map[string][]*played{}, ids: map[string]string{}}
				p.play()
				p.compare()
			})
			for _, d := range sc.accepts {
				require.True(t, d.used, "a difference that is accepted and not there: %s", d.what)
				d.used = false
			}
		})
	}
}

// part returns the lines that are played.
func (sc scenario) part(lines []transcript.Line) []transcript.Line {
	lines = slices.Clone(lines)
	return slices.DeleteFunc(lines, func(l transcript.Line) bool {
		return l.At() < sc.from || sc.until > 0 && l.At() >= sc.until
	})
}

// Every recording is played.
func TestEveryTranscriptIsPlayed(t *testing.T) {
	var played []string
	for _, sc := range scenarios {
		played = append(played, sc.name)
	}
	require.Equal(t, transcript.Names(), slices.Compact(played))
}

// docs/transcripts.md lists the differences that are accepted.
func TestAcceptedDifferencesAreDocumented(t *testing.T) {
	var table strings.Builder
	for _, d := range everywhere {
		fmt.Fprintf(&table, "| all | %s | %s |\n", d.what, d.reason)
	}
	listed := map[*difference]bool{}
	for _, sc := range scenarios {
		for _, d := range sc.accepts {
			if !listed[d] {
				fmt.Fprintf(&table, "| %s | %s | %s |\n", strings.Join(acceptedBy(d), ", "), d.what, d.reason)
			}
			listed[d] = true
		}
	}
	doc, err := os.ReadFile("../docs/transcripts.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(doc), "| recording | difference | reason |\n|---|---|---|\n")
	require.True(t, found, "the table")
	rows, _, _ := strings.Cut(rest, "\n\n")
	require.Equal(t, table.String(), rows+"\n")
}

// acceptedBy returns the numbers of the recordings in which it is accepted.
func acceptedBy(d *difference) (numbers []string) {
	for _, sc := range scenarios {
		number, _, _ := strings.Cut(sc.name, "-")
		if slices.Contains(sc.accepts, d) && !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

var replayedSince = regexp.MustCompile(`"since":(\d{13})`)

var committed = regexp.MustCompile(`"commit_timestamp":"([^"]+)"`)

// recordedAt returns about when the recording began: tokens in it expire. It
// is told by what is to be replayed, which is all, or by the first commit;
// without them it does not matter.
func recordedAt(t *testing.T, script transcript.Transcript) time.Time {
	for _, l := range script.Lines {
		if m := replayedSince.FindStringSubmatch(l.Frame); m != nil {
			ms, err := strconv.ParseInt(m[1], 10, 64)
			require.NoError(t, err)
			return time.UnixMilli(ms)
		}
	}
	var statement time.Duration
	for _, l := range script.Lines {
		if l.Dir == "sql" && statement == 0 {
			statement = l.At()
		}
		if m := committed.FindStringSubmatch(l.Frame); m != nil {
			at, err := time.Parse(time.RFC3339, m[1])
			require.NoError(t, err)
			return at.Add(-statement)
		}
	}
	return time.Now()
}

package channel

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/cputime"
	"github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// deafLink is a link on which nothing happens.
type deafLink struct {
	handler link.Handler
	refs    uint64
}

func (l *deafLink) Attach(_ string, h link.Handler) error { l.handler = h; return nil }
func (l *deafLink) Detach(string)                         {}
func (l *deafLink) RequestJoin(string, bool)              {}
func (l *deafLink) RejectToken(string, error) bool        { return true }
func (l *deafLink) FailFast() bool                        { return false }
func (l *deafLink) Version() phoenix.Version              { return phoenix.V2 }
func (l *deafLink) ServerTime(t time.Time) time.Time      { return t }
func (l *deafLink) NextRef() phoenix.Ref                  { l.refs++; return phoenix.NewRef(l.refs) }
func (l *deafLink) Send(phoenix.Message) error            { return nil }
func (l *deafLink) Observe(link.Notice)                   {}

// livingChannel has everything that a channel can have.
func livingChannel(t testing.TB) (*Channel, *deafLink) {
	l := &deafLink{}
	c, err := New(l, "room", Private(), ReplayBroadcasts(time.Time{}), AckBroadcasts(time.Hour))
	require.NoError(t, err)
	_, err = c.Subscribe(Binding{Schema: "*"}, Binding{Table: "orders"})
	require.NoError(t, err)
	_, err = c.Listen()
	require.NoError(t, err)
	_, err = c.Presence()
	require.NoError(t, err)
	require.NoError(t, c.start())
	join, ok := l.handler.Join("t")
	require.True(t, ok)
	receive(l, phoenix.Message{JoinRef: join.Ref, Ref: join.Ref, Event: phoenix.EventReply, Payload: []byte(
		`{"status":"ok","response":{"postgres_changes":[{"id":1,"event":"*","schema":"*"},{"id":2,"event":"*","schema":"public","table":"orders"}]}}`)})
	receive(l, phoenix.Message{Event: phoenix.EventSystem, Payload: []byte(`{"extension":"postgres_changes","status":"ok","message":"Subscribed to PostgreSQL"}`)})
	require.Equal(t, Live, c.Status().State)
	return c, l
}

func receive(l *deafLink, m phoenix.Message) {
	m.Topic = "realtime:room"
	l.handler.Receive(nil, m, time.Now())
}

func changeWithIDs(ids string) string {
	return `{"ids":` + ids + `,"data":{"schema":"public","table":"orders","type":"INSERT","commit_timestamp":"2026-01-01T00:00:00Z","errors":null,"columns":[{"name":"id","type":"int8"}],"record":{"id":1}}}`
}

// FuzzDoors: whatever a server sends by whatever event, the channel takes no
// more time and memory than the bytes are worth, and is one of its states after.
func FuzzDoors(f *testing.F) {
	events := []string{phoenix.EventReply, phoenix.EventSystem, phoenix.EventPresenceState, phoenix.EventPresenceDiff,
		phoenix.EventBroadcast, phoenix.EventPostgresChanges, phoenix.EventClose, phoenix.EventError, "new"}
	for i, payload := range []string{
		`{"status":"error","response":{"reason":"Unauthorized: x","error":{"a":[1]},"id":7}}`,
		`{"extension":"postgres_changes","status":"error","message":"Unable to subscribe to changes with given parameters. Exception: FATAL"}`,
		`{"k":{"metas":[{"phx_ref":"a","n":[[[]]]}]}}`,
		`{"joins":{"k":{"metas":[{"phx_ref":"b"}]}},"leaves":{"k":{"metas":[{"phx_ref":"a"}]}}}`,
		`{"event":"e","payload":{"a":1},"type":"broadcast","meta":{"id":"x","replayed":true}}`,
		changeWithIDs("[1,2,2,3]"), `{}`, `{}`, `[`,
	} {
		f.Add(byte(i), []byte(payload), false)
	}
	f.Add(byte(0), []byte("ok"), true)
	c, l := livingChannel(f)
	f.Fuzz(func(t *testing.T, event byte, payload []byte, other bool) {
		if c.Status().State != Live {
			c, l = livingChannel(t)
		}
		m := phoenix.Message{Event: events[int(event)%len(events)], Payload: payload}
		if other {
			m.JoinRef = c.joinRef
		}
		if m.Event == phoenix.EventReply { // to a message that waits for one
			c.mu.Lock()
			require.NoError(t, c.send(&phoenix.Message{Event: phoenix.EventBroadcast}, func(reply) {}))
			m.Ref = phoenix.NewRef(l.refs)
			c.mu.Unlock()
		}
		withinBudget(t, len(payload), func() { receive(l, m) })
		if s := c.Status(); s.Reason != nil {
			require.Less(t, len(s.Reason.Error()), 10_000)
			require.NotContains(t, s.Reason.Error(), "\n")
		}
	})
}

// Messages of many megabytes hold up nobody: while they are worked on, Status,
// Presence.State and Send answer, and it takes seconds, not minutes.
func TestDoors_LargeMessagesHoldUpNobody(t *testing.T) {
	const n = 50_000
	metas := list(n, func(i int) string { return fmt.Sprintf(`{"phx_ref":"a%d"}`, i) })
	keys := list(n, func(i int) string { return fmt.Sprintf(`"k%d":{"metas":[{"phx_ref":"a%d"}]}`, i, i) })
	for name, messages := range map[string][]phoenix.Message{
		"ids":      {{Event: phoenix.EventPostgresChanges, Payload: []byte(changeWithIDs("[" + list(n, func(i int) string { return fmt.Sprint(i) }) + "]"))}},
		"same ids": {{Event: phoenix.EventPostgresChanges, Payload: []byte(changeWithIDs("[" + list(n, func(i int) string { return "1" }) + "]"))}},
		"one key": {{Event: phoenix.EventPresenceState, Payload: []byte(`{"k":{"metas":[` + metas + `]}}`)},
			{Event: phoenix.EventPresenceState, Payload: []byte(`{"k":{"metas":[` + metas + `]}}`)},
			{Event: phoenix.EventPresenceDiff, Payload: []byte(`{"joins":{},"leaves":{"k":{"metas":[` + metas + `]}}}`)}},
		"many keys": {{Event: phoenix.EventPresenceState, Payload: []byte(`{` + keys + `}`)},
			{Event: phoenix.EventPresenceDiff, Payload: []byte(`{"joins":{},"leaves":{` + keys + `}}`)}},
		"system": {{Event: phoenix.EventSystem, Payload: []byte(`{"extension":"system","status":"error","message":"` + strings.Repeat("R", 5<<20) + `"}`)}},
	} {
		t.Run(name, func(t *testing.T) {
			c, l := livingChannel(t)
			done := make(chan struct{})
			began, used := time.Now(), cputime.Used()
			go func() {
				defer close(done)
				for _, m := range messages {
					withinBudget(t, len(m.Payload), func() { receive(l, m) })
				}
			}()
			var longest time.Duration
			for waiting := true; waiting; {
				select {
				case <-done:
					waiting = false
				case <-time.After(time.Millisecond):
				}
				at := time.Now()
				c.Status()
				longest = max(longest, time.Since(at))
			}
			require.Less(t, cputime.Used()-used, 20*time.Second)
			require.Less(t, longest, max(time.Second, time.Since(began)/4), "Status waited for the work on a message")
			require.Equal(t, Live, c.Status().State)
			c.fail()
		})
	}
}

func (c *Channel) fail() { c.happen(inFail, cause{err: ErrClosed}) }

// An error of an acknowledged broadcast is an object in newer servers and a
// string in older ones; the typed error is the same.
func TestReply_ErrorsAsObjectsAndStrings(t *testing.T) {
	for payload, want := range map[string]reply{
		`{"status":"error","response":"payload_size_exceeded"}`:           {reason: reasonTooLarge},
		`{"status":"error","response":{"error":"payload_size_exceeded"}}`: {reason: reasonTooLarge},
		`{"status":"error","response":{"error":"unauthorized"}}`:          {reason: "unauthorized"},
		`{"status":"error","response":{"reason":"a\nb"}}`:                 {reason: "a b"},
		`{"status":"error","response":{"reason":{"a":1}}}`:                {reason: `{"reason":{"a":1}}`},
		`{"status":"error","response":{}}`:                                {reason: "{}"},
		`{"status":"ok","response":{"id":"x"}}`:                           {ok: true, id: "x"},
		`{"status":"ok","response":{"id":7}}`:                             {ok: true},
		`{"status":"ok"}`:                                                 {ok: true},
	} {
		got := decodeReply(phoenix.Message{Payload: []byte(payload)})
		got.misread = nil
		require.Equal(t, want, got, payload)
	}
	require.Error(t, decodeReply(phoenix.Message{Payload: []byte(`{}`)}).err)
	require.Equal(t, reply{ok: true}, decodeReply(phoenix.Message{Kind: phoenix.Reply, Status: "ok"}))
}

// A stored message comes live without an id and by replay with one: it is
// delivered once, and a replay of which a part was recognized by its text alone
// is not called complete.
func TestReplay_StoredMessagesComeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := livingChannel(t)
		own := Broadcast{Event: "own", Payload: []byte(`{"a":1}`)}
		live := func(b Broadcast) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.replay.isNew(&b, true, time.Now())
		}
		lost := func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.replayFrom(time.Now())
		}
		require.True(t, live(own))
		require.True(t, live(own), "two messages of one text are two")
		lost()
		replayed := own
		replayed.Replayed = true
		for i, isNew := range []bool{false, false, true} {
			replayed.ID = fmt.Sprint(i)
			require.Equal(t, isNew, live(replayed), i)
			require.False(t, live(replayed), "an id comes once")
		}
		c.mu.Lock()
		require.Equal(t, 2, c.replay.twins)
		c.mu.Unlock()

		require.True(t, live(own)) // long before the window of the next replay
		time.Sleep(time.Hour)
		synctest.Wait()
		lost()
		replayed.ID = "later"
		require.True(t, live(replayed))

		// The acknowledgement names the id of a stored broadcast of one's own.
		c.mu.Lock()
		ref, err := c.sendBroadcast(phoenix.Message{Event: phoenix.EventBroadcast}, make(chan reply, 1))
		c.mu.Unlock()
		require.NoError(t, err)
		receive(l, phoenix.Message{Ref: ref, Event: phoenix.EventReply, Payload: []byte(`{"status":"ok","response":{"id":"mine"}}`)})
		replayed.ID = "mine"
		require.False(t, live(replayed))
		c.fail()
	})
}

// What is no UTF-8 is refused at the call.
func TestUTF8_IsRefusedAtTheCall(t *testing.T) {
	const latin = "caf\xe9"
	c, _ := livingChannel(t)
	defer c.fail()
	_, err := New(&deafLink{}, latin)
	require.Error(t, err)
	_, err = New(&deafLink{}, "room", WithPresenceKey(latin))
	require.Error(t, err)
	idle, err := New(&deafLink{}, "room")
	require.NoError(t, err)
	for _, b := range []Binding{{Table: latin}, {Schema: latin}, {Table: "t", Columns: []string{latin}}, {Schema: "\xc3", Table: "\xa9"}} {
		_, err = idle.Subscribe(b)
		require.Error(t, err)
	}
	_, err = idle.Listen(latin)
	require.Error(t, err)
	for _, payload := range []any{latin, map[string]string{latin: "a"}, []any{map[string]any{"a": latin}}} {
		require.ErrorIs(t, c.Send(t.Context(), "e", payload), phoenix.ErrNotUTF8)
	}
	require.ErrorIs(t, c.presence.Track(t.Context(), map[string]string{"a": latin}), phoenix.ErrNotUTF8)
	require.Error(t, c.Send(t.Context(), latin, 1))
	for _, fine := range []string{"\ufffd", `\ufffd`, `\\ufffd`, "é"} {
		_, err := phoenix.EncodePayload(fine)
		require.NoError(t, err, fine)
	}
}

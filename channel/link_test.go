package channel_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	wire "github.com/gapless-go/gapless/internal/link"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// link is a socket without a server: the test is the server.
type link struct {
	t        testing.TB
	handler  wire.Handler
	mu       sync.Mutex // for what timers call, too
	requests []bool     // whether each request to join was of a failing channel
	sent     []phoenix.Message
	notices  []wire.Notice
	refs     uint64
	attach   error
	send     error
	another  bool // there is another token when one is refused
	failFast bool
	panics   string // the method that panics, once
	always   bool   // or each time
	detached int
}

func (l *link) Attach(topic string, h wire.Handler) error {
	if l.attach == nil {
		require.Equal(l.t, "realtime:room", topic)
		l.handler = h
	}
	return l.attach
}
func (l *link) Detach(string) { l.detached++ }
func (l *link) RequestJoin(_ string, failing bool) {
	l.panic("RequestJoin")
	l.requests = append(l.requests, failing)
}
func (l *link) RejectToken(string, error) bool   { return l.another }
func (l *link) FailFast() bool                   { return l.failFast }
func (l *link) Version() phoenix.Version         { return phoenix.V2 }
func (l *link) ServerTime(t time.Time) time.Time { l.panic("ServerTime"); return t }
func (l *link) NextRef() phoenix.Ref             { l.panic("NextRef"); l.refs++; return phoenix.NewRef(l.refs) }
func (l *link) Observe(n wire.Notice) {
	l.panic("Observe")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notices = append(l.notices, n)
}
func (l *link) panic(method string) {
	l.mu.Lock()
	now := l.panics == method
	if now && !l.always {
		l.panics = ""
	}
	l.mu.Unlock()
	if now {
		panic(method)
	}
}
func (l *link) Send(m phoenix.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, m)
	return l.send
}
func (l *link) receive(m phoenix.Message) {
	l.handler.Receive(l.t.Context(), m, time.Now())
}
func (l *link) reply(to phoenix.Message, payload string) { l.receive(answer(to, payload)) }

func answer(to phoenix.Message, payload string) phoenix.Message {
	return phoenix.Message{JoinRef: to.JoinRef, Ref: to.Ref, Topic: to.Topic, Event: phoenix.EventReply, Payload: []byte(payload)}
}

func (l *link) system(join phoenix.Message, extension, status, message string) {
	l.receive(phoenix.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: phoenix.EventSystem,
		Payload: fmt.Appendf(nil, `{"extension":%q,"status":%q,"message":%q,"channel":"room"}`, extension, status, message)})
}

func (l *link) subscribed(join phoenix.Message) {
	l.system(join, "postgres_changes", "ok", "Subscribed to PostgreSQL")
}

// change is an insert into orders.
func (l *link) change(id int) {
	l.receive(phoenix.Message{Topic: "realtime:room", Event: phoenix.EventPostgresChanges, Payload: fmt.Appendf(nil,
		`{"ids":[7],"data":{"schema":"public","table":"orders","type":"INSERT","commit_timestamp":"2026-01-01T00:00:00Z","errors":null,"columns":[{"name":"id","type":"int8"}],"record":{"id":%d}}}`, id)})
}

func requireID(t *testing.T, c cdc.Change) int64 {
	t.Helper()
	require.Nil(t, c.Gap)
	e, err := cdc.As[struct{ ID int64 }](c)
	require.NoError(t, err)
	return e.New.ID
}

func (l *link) end(join phoenix.Message, event string) {
	l.receive(phoenix.Message{JoinRef: join.JoinRef, Ref: join.JoinRef, Topic: join.Topic, Event: event})
}

const okReply = `{"status":"ok","response":{"postgres_changes":[{"id":7,"event":"*","schema":"public","table":"orders"}]}}`

// turn lets the channel join, as its link does when it is its turn.
func (l *link) turn(token string) phoenix.Message {
	l.t.Helper()
	join, ok := l.handler.Join(token)
	require.True(l.t, ok)
	return join
}

// live sees a channel through to live.
func (l *link) live(token string) phoenix.Message {
	l.t.Helper()
	join := l.turn(token)
	l.reply(join, okReply)
	l.subscribed(join)
	return join
}

// subject is a channel with a subscription to orders, and its values as they
// come.
type subject struct {
	*link
	ch     *channel.Channel
	values chan cdc.Change
	ended  chan error
}

func start(t *testing.T, opts ...channel.Option) *subject {
	s := &subject{link: &link{t: t}, values: make(chan cdc.Change, 100), ended: make(chan error, 1)}
	var err error
	s.ch, err = channel.New(s.link, "room", opts...)
	require.NoError(t, err)
	sub, err := s.ch.Subscribe(channel.Binding{Table: "orders"})
	require.NoError(t, err)
	go func() {
		for change, err := range sub.Changes(t.Context()) {
			if err != nil {
				s.ended <- err
				return
			}
			s.values <- change
		}
	}()
	synctest.Wait()
	return s
}

func (s *subject) requireGap(reason cdc.GapReason, open bool) cdc.Gap {
	s.t.Helper()
	synctest.Wait()
	require.NotEmpty(s.t, s.values, "no gap came")
	change := <-s.values
	require.NotNil(s.t, change.Gap)
	require.Equal(s.t, reason, change.Gap.Reason)
	require.Equal(s.t, open, change.Gap.Open())
	return *change.Gap
}

func (s *subject) requireNothing() {
	s.t.Helper()
	synctest.Wait()
	require.Empty(s.t, s.values)
}

func (s *subject) requireState(want channel.State) {
	s.t.Helper()
	synctest.Wait()
	require.Equal(s.t, want, s.ch.Status().State)
}

// pause lets time pass, and what happens in it happen.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func contextIn(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func TestAConfirmationOfAnEarlierJoinDoesNotCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		old := s.live("t")
		s.requireGap(cdc.Started, false)
		s.end(old, phoenix.EventError)
		s.requireGap(cdc.Crashed, true)
		pause(time.Minute)
		join := s.turn("t")
		s.reply(join, okReply)
		s.subscribed(old)
		s.requireState(channel.Joined)
		s.subscribed(join)
		s.requireState(channel.Live)
	})
}

func TestAReplyThatComesAfterTheLeaveChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		join := s.turn("t")
		go func() { _ = s.ch.Leave(t.Context()) }()
		s.requireState(channel.Leaving)
		s.reply(join, okReply)
		began := time.Now()
		require.ErrorIs(t, <-s.ended, channel.ErrClosed)
		require.Equal(t, 10*time.Second, time.Since(began), "the server's silence is waited for so long")
	})
}

func TestWhichConfirmationsAnswerAToken(t *testing.T) {
	begin := func(t *testing.T) (*subject, phoenix.Message) {
		s := start(t)
		join := s.live("one")
		s.requireGap(cdc.Started, false)
		s.handler.Token("two")
		require.Equal(t, phoenix.EventAccessToken, s.sent[len(s.sent)-1].Event)
		return s, join
	}
	bubble(t, func(t *testing.T) { // the next one, once
		s, join := begin(t)
		pause(3 * time.Second)
		s.subscribed(join)
		s.requireNothing()
		s.subscribed(join)
		s.requireGap(cdc.Resubscribed, false)
	})
	bubble(t, func(t *testing.T) { // not one that comes much later
		s, join := begin(t)
		pause(20 * time.Second)
		s.subscribed(join)
		s.requireGap(cdc.Resubscribed, false)
	})
	bubble(t, func(t *testing.T) { // nor one of a later join
		s, join := begin(t)
		s.end(join, phoenix.EventClose)
		s.requireGap(cdc.Closed, true)
		pause(2 * time.Second)
		again := s.live("two")
		s.requireGap(cdc.Closed, false)
		s.subscribed(again)
		s.requireGap(cdc.Resubscribed, false)
	})
	bubble(t, func(t *testing.T) { // where there is one more, any of them may be the unasked one
		s := start(t)
		join := s.live("one")
		s.requireGap(cdc.Started, false)
		pause(time.Minute)
		s.change(1)
		require.Equal(t, int64(1), requireID(t, <-s.values))
		whole := time.Now()
		pause(time.Minute)
		s.handler.Token("two")
		pause(time.Second)
		s.subscribed(join)
		pause(time.Second)
		s.change(2)
		require.Equal(t, int64(2), requireID(t, <-s.values))
		s.subscribed(join)
		require.Equal(t, whole, s.requireGap(cdc.Resubscribed, false).Since)
		again := time.Now()
		pause(time.Second)
		s.subscribed(join)
		require.Equal(t, again, s.requireGap(cdc.Resubscribed, false).Since)
	})
}

func TestSinceWhenAStreamIsNotWhole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		join := s.live("t")
		live := time.Now()
		s.requireGap(cdc.Started, false)
		pause(time.Minute)
		s.subscribed(join)
		require.Equal(t, live, s.requireGap(cdc.Resubscribed, false).Since, "since something last came")
		pause(time.Minute)
		s.change(1)
		require.Equal(t, int64(1), requireID(t, <-s.values))
		changed := time.Now()
		pause(time.Minute)
		s.subscribed(join)
		require.Equal(t, changed, s.requireGap(cdc.Resubscribed, false).Since, "a change counts")
		s.notices = nil
		for range 1000 {
			s.subscribed(join)
			s.handler.Malformed(&phoenix.MalformedError{Err: errors.New("no JSON")}, time.Now())
			synctest.Wait()
			for len(s.values) > 0 {
				<-s.values
			}
		}
		s.subscribed(join)
		require.Len(t, s.notices, 1, "no gap within a second of one that was reported, and one frame that was dropped")
		require.Error(t, s.notices[0].Dropped)
		synctest.Wait()
		require.NotEmpty(t, s.values)
		for len(s.values) > 0 {
			<-s.values
		}

		read := time.Now()
		pause(time.Minute)
		s.handler.Down(read, errors.New("lost"))
		require.Equal(t, read, s.requireGap(cdc.Disconnected, true).Since, "since the socket was last read")
		s.handler.Up()
		s.live("t")
		require.Equal(t, time.Now(), s.requireGap(cdc.Disconnected, false).Until)
	})
}

func TestAnUnreadableFrameDoesNotCloseAnOpenGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		join := s.live("t")
		s.requireGap(cdc.Started, false)
		s.system(join, "postgres_changes", "error", `{:error, "Too many database timeouts"}`)
		s.requireGap(cdc.SubscriptionFailed, true)
		s.handler.Malformed(&phoenix.MalformedError{Err: errors.New("no JSON")}, time.Now())
		s.requireNothing()
		s.subscribed(join)
		s.requireGap(cdc.SubscriptionFailed, false)
	})
}

// The server says that it will try again; if it does not, the channel does.
func TestAFailedSubscriptionIsNotWaitedForForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t, channel.WithLiveTimeout(20*time.Second))
		join := s.live("t")
		s.requireGap(cdc.Started, false)
		before := len(s.requests)
		s.system(join, "postgres_changes", "error", `{:error, "Too many database timeouts"}`)
		s.requireGap(cdc.SubscriptionFailed, true)
		pause(21 * time.Second)
		require.Len(t, s.requests, before+1)
		again := s.turn("t")
		s.end(join, phoenix.EventClose) // which the new join brought about
		s.requireState(channel.Joining)
		s.reply(again, okReply)
		s.subscribed(again)
		s.requireGap(cdc.SubscriptionFailed, false)
	})
}

func TestAChannelJoinsOnceAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		s.handler.Up()
		join := s.turn("t")
		_, again := s.handler.Join("t")
		require.False(t, again, "the first has no answer yet")
		s.reply(join, okReply)
		_, again = s.handler.Join("t")
		require.False(t, again, "it is joined")
		s.handler.JoinTimeout()
		s.requireState(channel.Joined)
	})
}

func TestTokensAreSentWhenTheyAreNew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		s.handler.Token("one")
		require.Empty(t, s.sent, "there is no join to send it on")
		join := s.turn("one")
		require.Contains(t, string(join.Payload), `"access_token":"one"`)
		s.handler.Token("two")
		require.Empty(t, s.sent, "the join has no answer yet")
		s.reply(join, okReply)
		require.Len(t, s.sent, 1)
		require.JSONEq(t, `{"access_token":"two"}`, string(s.sent[0].Payload))
		require.Equal(t, join.JoinRef, s.sent[0].JoinRef)
		s.handler.Token("two")
		require.Len(t, s.sent, 1, "the server has it")
		s.send = errors.New("full")
		s.handler.Token("three")
		require.Equal(t, s.send, s.notices[len(s.notices)-1].Dropped)
		s.send = nil
		s.handler.Token("three")
		require.Len(t, s.sent, 3, "it has not got that one")
	})
}

// The reason of one end of a channel is not that of the next.
func TestReasonsAreNotMixedUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		join := s.live("t")
		s.requireGap(cdc.Started, false)
		s.system(join, "system", "error", "Too many messages per second")
		s.end(join, phoenix.EventClose)
		require.ErrorContains(t, s.requireGap(cdc.Closed, true).Err, "Too many messages")
		pause(2 * time.Second)
		join = s.live("t")
		s.requireGap(cdc.Closed, false)
		s.end(join, phoenix.EventClose)
		require.ErrorContains(t, s.requireGap(cdc.Closed, true).Err, "without a reason")
	})
}

// Refused again and again, a channel says so to its link, until it has been
// live for long.
func TestWhichChannelsAreFailing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		require.Equal(t, []bool{false}, s.requests)
		s.reply(s.turn("t"), `{"status":"error","response":{"reason":"UnableToConnectToProject: x"}}`)
		s.requireState(channel.Degraded)
		pause(time.Second)
		require.Equal(t, []bool{false, true}, s.requests)
		s.live("t")
		pause(time.Minute)
		s.handler.Down(time.Now(), errors.New("lost"))
		s.handler.Up()
		require.Equal(t, []bool{false, true, false}, s.requests)
	})
}

func TestWhatEndsAChannelIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		s.live("t")
		over := errors.New("over")
		s.handler.Fail(over)
		s.handler.Fail(errors.New("again"))
		require.ErrorIs(t, <-s.ended, over)
		require.Equal(t, 1, s.detached)
		require.Equal(t, channel.Status{State: channel.Closed, Reason: over}, s.ch.Status())
		require.ErrorIs(t, s.notices[len(s.notices)-1].Ended, over)
		s.handler.Up()
		s.handler.Down(time.Now(), errors.New("late"))
		s.requireState(channel.Closed)
		require.ErrorIs(t, s.ch.WaitLive(t.Context()), over)
	})
}

func TestALinkThatRefusesEndsTheChannel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{t: t, attach: errors.New("taken")}
		ch, err := channel.New(l, "room")
		require.NoError(t, err)
		require.ErrorIs(t, ch.WaitLive(t.Context()), l.attach)
		require.Equal(t, channel.Closed, ch.Status().State)
		require.Zero(t, l.detached)
	})
}

func TestLeavingBeforeTheServerKnows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := start(t)
		require.NoError(t, s.ch.Leave(context.Background()))
		require.Empty(t, s.sent)
		require.ErrorIs(t, <-s.ended, channel.ErrClosed)
		require.Equal(t, 1, s.detached)
	})
	bubble(t, func(t *testing.T) { // a socket that takes nothing
		s := start(t)
		s.live("t")
		s.send = errors.New("full")
		require.NoError(t, s.ch.Leave(context.Background()))
		require.ErrorIs(t, <-s.ended, channel.ErrClosed)
	})
}

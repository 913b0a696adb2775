package mockserver

import (
	"context"
	"errors"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// databasePatience is how long a question to the backend's database may take,
// which is what the real server gives one.
const databasePatience = 15 * time.Second

// use has the server work on another database than its own, if there is one:
// it reads that one's log as soon as it returns.
func (rt *realtime) use(db project.Database) error {
	if rt.backend = db; db == nil {
		return nil
	}
	rt.mu.Lock()
	rt.asleep = time.Now()
	rt.startPoller()
	log := rt.poller.log.(*backendLog)
	rt.wg.Add(1)
	rt.mu.Unlock()
	ready := make(chan error, 1)
	go rt.relayMessages(ready) // ends with rt.ctx
	<-log.opened
	return errors.Join(log.err, <-ready)
}

// messageRetry bounds the pause before the messages of the database are asked
// for again.
const messageRetryMin, messageRetryMax = 5 * time.Second, 5 * time.Minute

// relayMessages relays what the database sends, and begins again where the
// connection is lost. What is sent meanwhile is stored, and not relayed. It
// tells once whether it has begun.
func (rt *realtime) relayMessages(ready chan<- error) {
	defer rt.wg.Done()
	for pause := messageRetryMin; ; pause = min(2*pause, messageRetryMax) {
		err := rt.backend.Messages(rt.ctx, func() {
			pause = messageRetryMin
			tell(ready, nil)
		}, func(m project.Message) { rt.relayStored(storedOf(m)) })
		tell(ready, err)
		rt.log.Warn("messages of the database are not relayed", "error", err)
		if !rt.pause(rt.ctx, pause) {
			return
		}
	}
}

func tell(ready chan<- error, err error) {
	select {
	case ready <- err:
	default:
	}
}

func storedOf(m project.Message) storedMessage {
	return storedMessage{id: m.ID, topic: m.Topic, event: m.Event, private: m.Private, binary: m.Binary, payload: m.Payload}
}

// storedSince returns the newest private messages of a topic since a time, the
// oldest first.
func (rt *realtime) storedSince(topic string, since time.Time, limit int) (found []storedMessage, err error) {
	if rt.backend == nil {
		return rt.store.since(topic, since, limit), nil
	}
	ctx, cancel := context.WithTimeout(rt.ctx, databasePatience)
	defer cancel()
	messages, err := rt.backend.Replay(ctx, topic, since, limit)
	for _, m := range messages {
		found = append(found, storedOf(m))
	}
	return found, err
}

// backendPermits asks the policies of the backend's database. One that fails
// permits nothing.
func (rt *realtime) backendPermits(topic, extension string, write bool, claims Claims) (bool, error) {
	ctx, cancel := context.WithTimeout(rt.ctx, databasePatience)
	defer cancel()
	may, err := rt.backend.Permits(ctx, project.Caller{Role: roleOf(claims), Claims: claims},
		project.Access{Topic: topic, Extension: extension, Write: write})
	if err != nil {
		rt.log.Warn("the policies on realtime.messages cannot be asked", "topic", topic, "error", err)
	}
	return may && err == nil, err
}

// bindBackend is bind with the backend's database. The error is PostgreSQL's, an
// *Error, or project.ErrUnavailable.
func (ch *channel) bindBackend(order int, p bindingParams) (subs []*subscription, err error) {
	rt := ch.conn.rt
	ctx, cancel := context.WithTimeout(rt.ctx, databasePatience)
	defer cancel()
	b := project.Binding{Event: p.event, Schema: p.schema, Table: p.table, Columns: p.columns}
	for _, f := range p.filters {
		b.Filters = append(b.Filters, project.Filter{Column: f.column, Op: f.op, Value: f.value, Negate: f.negate})
	}
	bound, err := rt.backend.Subscribe(ctx, project.Caller{Role: roleOf(ch.who.claims), Claims: ch.who.claims}, b)
	if errors.Is(err, project.ErrUnavailable) {
		return nil, err
	}
	if err != nil {
		return nil, backendError(err)
	}
	for _, s := range bound {
		own := &subscription{ch: ch, order: order, id: ch.config.bindings[order].id, bound: s}
		s.Owner = own
		subs = append(subs, own)
	}
	return subs, nil
}

// forget ends subscriptions that are not in the server, or not any more.
func (rt *realtime) forget(subs []*subscription) {
	if rt.backend == nil || len(subs) == 0 {
		return
	}
	bound := make([]*project.Subscription, len(subs))
	for i, s := range subs {
		bound[i] = s.bound
	}
	rt.backend.Unsubscribe(bound)
}

// backendError returns the error of a backend as PostgreSQL's.
func backendError(err error) *pgtype.Error {
	var pg *project.Error
	if errors.As(err, &pg) {
		return &pgtype.Error{Code: pg.Code, Message: pg.Message, Detail: pg.Detail, Hint: pg.Hint}
	}
	return pgtype.Errorf("08006", "%v", err)
}

// awake reports whether the workers run, so that a subscription is confirmed. A
// server that was idle wakes up. With the timing Fast they run when the slot is
// there, unless DelaySlot says otherwise.
func (rt *realtime) awake() bool {
	if rt.backend == nil {
		return true
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.closed {
		return true // and nothing matters
	}
	if rt.poller == nil {
		rt.asleep = time.Now()
		rt.startPoller()
		return rt.poller.log != nil && rt.poller.log.ready()
	}
	// The real server does not wait for the slot: what is committed until it is
	// there is lost, and nothing tells of it.
	if !rt.timing.atOnce || rt.faults.lateSlot() > 0 {
		return true
	}
	return rt.poller.log != nil && rt.poller.log.ready()
}

// openLog opens what a poller reads. The caller holds mu.
func (rt *realtime) openLog() changeLog {
	if rt.backend == nil {
		return slotLog{rt.db.openSlot(), rt}
	}
	return rt.openBackendLog()
}

// noticePublication compares the publication's tables with those at the last
// check. The caller holds mu.
func (rt *realtime) noticePublication() {
	ctx, cancel := context.WithTimeout(rt.ctx, databasePatience)
	defer cancel()
	rt.mu.Unlock()
	now, err := rt.backend.Publication(ctx)
	rt.mu.Lock()
	if err != nil {
		rt.log.Warn("the publication cannot be read", "error", err)
		return
	}
	rt.republished = rt.republished || rt.publication != nil && *rt.publication != now
	rt.publication = &now
}

// backendLog is a log of the backend's database. Opening one waits for the
// transactions that are under way, so a goroutine does, which close ends.
type backendLog struct {
	rt     *realtime
	ctx    context.Context
	cancel context.CancelFunc
	opened chan struct{} // closed when log or err is set
	log    project.Log
	err    error
}

func (rt *realtime) openBackendLog() *backendLog {
	l := &backendLog{rt: rt, opened: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(rt.ctx)
	rt.wg.Add(1)
	go l.open()
	return l
}

// open opens the log, and closes it when the log's time is over.
func (l *backendLog) open() {
	defer l.rt.wg.Done()
	l.log, l.err = l.rt.backend.OpenLog(l.ctx, l.arrived)
	close(l.opened)
	l.rt.mu.Lock()
	l.rt.wakePoller()
	l.rt.mu.Unlock()
	<-l.ctx.Done()
	if l.err == nil {
		l.log.Close()
	}
}

// arrived has the poller look at what has come, if it is not to be waited for.
func (l *backendLog) arrived() {
	if l.rt.timing.atOnce {
		l.rt.mu.Lock()
		defer l.rt.mu.Unlock()
		l.rt.wakePoller()
	}
}

func (l *backendLog) close() { l.cancel() }

func (l *backendLog) ready() bool {
	select {
	case <-l.opened:
		return l.err == nil
	default:
		return false
	}
}

func (l *backendLog) failed() error {
	select {
	case <-l.opened:
		return l.err
	default:
		return nil
	}
}

// backendChanges is how many changes one look at a backend's log takes, about:
// more than the real server, which asks for each of them, while a backend is
// asked for all of them together.
const backendChanges = 1000

// next implements changeLog.
func (l *backendLog) next(int) (taken int, all []found, err error) {
	if !l.ready() {
		return 0, nil, nil
	}
	changes, err := l.log.Next(l.ctx, backendChanges, l.subscribers, func() bool { return l.rt.faults.changeTruncated(nil) })
	for _, c := range changes {
		if !l.rt.faults.changeDropped(nil) {
			all = append(all, found{deliveries: deliveriesOf(c)})
		}
	}
	return len(changes), all, err
}

func (l *backendLog) subscribers(table uint32) []*project.Subscription {
	subs := l.rt.subscribed(table)
	bound := make([]*project.Subscription, len(subs))
	for i, s := range subs {
		bound[i] = s.bound
	}
	return bound
}

func deliveriesOf(c project.Change) (deliveries []delivery) {
	for _, d := range c.Deliveries {
		own := delivery{data: d.Data, subs: make([]*subscription, len(d.Subs))}
		for i, s := range d.Subs {
			own.subs[i] = s.Owner.(*subscription)
		}
		deliveries = append(deliveries, own)
	}
	return deliveries
}

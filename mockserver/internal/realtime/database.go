package realtime

import (
	"context"
	"errors"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// databasePatience is how long a question to the database may take,
// which is what the real server gives one.
const databasePatience = 15 * time.Second

// Begin relays the database's messages from when it returns on, and where awake is
// set its changes, too.
func (rt *Server) Begin(awake bool) error {
	rt.mu.Lock()
	rt.asleep = time.Now()
	var log project.Log
	if awake {
		rt.startPoller()
		log = rt.poller.log
	}
	rt.wg.Add(1)
	rt.mu.Unlock()
	ready := make(chan error, 1)
	go rt.relayMessages(ready) // ends with rt.ctx
	if log != nil {
		<-log.Opened()
		return errors.Join(log.Err(), <-ready)
	}
	return <-ready
}

// messageRetry bounds the pause before the messages of the database are asked
// for again.
const messageRetryMin, messageRetryMax = 5 * time.Second, 5 * time.Minute

// relayMessages relays what the database sends, and begins again where the
// connection is lost. What is sent meanwhile is stored, and not relayed. It
// tells once whether it has begun.
func (rt *Server) relayMessages(ready chan<- error) {
	defer rt.wg.Done()
	for pause := messageRetryMin; ; pause = min(2*pause, messageRetryMax) {
		err := rt.db.Messages(rt.ctx, func() {
			pause = messageRetryMin
			tell(ready, nil)
		}, rt.relayStored)
		tell(ready, err)
		if rt.ctx.Err() != nil {
			return
		}
		rt.log.Warn("messages of the database are not relayed", "error", err)
		if !rt.Pause(rt.ctx, pause) {
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

// storedSince returns the newest private messages of a topic since a time, the
// oldest first.
func (rt *Server) storedSince(topic string, since time.Time, limit int) ([]project.Message, error) {
	ctx, cancel := context.WithTimeout(rt.ctx, databasePatience)
	defer cancel()
	return rt.db.Replay(ctx, topic, since, limit)
}

// awake reports whether the workers run, so that a subscription is confirmed. A
// server that was idle wakes up. With the timing Fast they run when the slot is
// there; the real server does not wait for it, and what is committed until then is
// lost, and nothing tells of it.
func (rt *Server) awake() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	switch {
	case rt.closed: // and nothing matters
		return true
	case rt.poller == nil:
		rt.asleep = time.Now()
		rt.startPoller()
	case !rt.timing.atOnce:
		return true
	}
	return rt.poller.log == nil || isOpened(rt.poller.log)
}

// isOpened reports whether what is committed from now on will be read.
func isOpened(log project.Log) bool {
	select {
	case <-log.Opened():
		return log.Err() == nil
	default:
		return false
	}
}

// hasFailed reports whether the log could not be opened.
func hasFailed(log project.Log) bool {
	select {
	case <-log.Opened():
		return log.Err() != nil
	default:
		return false
	}
}

// noticePublication compares the publication's tables with those at the last
// check. The caller holds mu.
func (rt *Server) noticePublication() {
	ctx, cancel := context.WithTimeout(rt.ctx, databasePatience)
	defer cancel()
	rt.mu.Unlock()
	now, err := rt.db.Publication(ctx)
	rt.mu.Lock()
	if err != nil {
		rt.log.Warn("the publication cannot be read", "error", err)
		return
	}
	rt.republished = rt.republished || rt.publication != nil && *rt.publication != now
	rt.publication = &now
}

// arrived has the poller look at what has come, if it is not to be waited for.
func (rt *Server) arrived() {
	if rt.timing.atOnce {
		rt.mu.Lock()
		defer rt.mu.Unlock()
		rt.wakePoller()
	}
}

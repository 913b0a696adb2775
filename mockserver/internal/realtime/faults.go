package realtime

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// EachSocket runs do for the open socket of that number, or for all where it is
// 0, in the order in which they were opened.
func (rt *Server) EachSocket(number int, do func(s fault.Socket)) error {
	all := rt.sockets()
	if i := slices.IndexFunc(all, func(c *conn) bool { return c.id == number }); i >= 0 {
		all = all[i : i+1]
	} else if number != 0 {
		return fmt.Errorf("there is no socket %d", number)
	}
	for _, c := range all {
		do(c)
	}
	return nil
}

// EachChannel runs do for each channel of a topic, or for all where it is empty,
// on the processes of the sockets that EachSocket says.
func (rt *Server) EachChannel(socket int, topic string, do func(ch fault.Channel)) error {
	return rt.EachSocket(socket, func(s fault.Socket) {
		s.(*conn).eachChannel(func(ch *channel) {
			if topic == "" || topic == ch.topic || topic == ch.name {
				do(ch)
			}
		})
	})
}

// eachChannel runs do for each channel, behind what waits.
func (c *conn) eachChannel(do func(ch *channel)) {
	c.post(0, func() {
		for _, ch := range c.channels {
			do(ch)
		}
	})
}

// Kill ends the socket without a close frame.
func (c *conn) Kill() { c.kill() }

// CloseWith closes the socket, behind what waits.
func (c *conn) CloseWith(code int) {
	c.post(0, func() { c.close(websocket.StatusCode(code)) })
}

// Block holds the socket up for d, behind what waits.
func (c *conn) Block(d time.Duration) { c.post(0, func() { c.rt.Pause(c.ctx, d) }) }

// SendRaw sends bytes as they are, behind what waits.
func (c *conn) SendRaw(binary bool, frame []byte) { c.pushFrame(frame, binary) }

// Sockets returns how many sockets are open.
func (rt *Server) Sockets() int { return len(rt.sockets()) }

// Drain sends "Server requested disconnect" on every channel and closes every
// socket with code 1012.
func (rt *Server) Drain() {
	payload := rawjson.Must(phoenix.System{
		Extension: phoenix.ExtensionSystem, Status: phoenix.StatusOK, Message: "Server requested disconnect",
	})
	for _, c := range rt.sockets() {
		c.post(0, func() {
			for _, ch := range c.channels {
				c.send(phoenix.Message{Topic: ch.topic, Event: phoenix.EventSystem, Payload: payload})
			}
			c.close(websocket.StatusServiceRestart)
		})
	}
}

// Restart drains the server and has it away for d. Nothing is kept.
func (rt *Server) Restart(d time.Duration) {
	rt.Faults.Set(func(f *fault.InForce) { f.Draining = time.Now().Add(d) })
	rt.StopWorkers()
	rt.unsubscribeAll()
	rt.Drain()
}

// RepeatSubscribed says "Subscribed to PostgreSQL" once more where it was said.
func (rt *Server) RepeatSubscribed() {
	for _, c := range rt.sockets() {
		c.eachChannel(func(ch *channel) {
			if ch.told {
				ch.system(phoenix.ExtensionPostgresChanges, phoenix.StatusOK, phoenix.MessageSubscribed)
			}
		})
	}
}

// Heal ends the faults in force, and makes the slot that is still to come.
func (rt *Server) Heal() {
	rt.Faults.Heal()
	rt.freeConnections()
	rt.mend()
}

// RestartDatabase has the database away for d, and loses the slot.
func (rt *Server) RestartDatabase(d time.Duration) {
	rt.Faults.Set(func(f *fault.InForce) {
		f.Down = time.Now().Add(d)
		f.Terminated = fault.Terminated{}
		if d > 0 {
			f.Terminated = fault.Terminated{Rights: 1, Subscriptions: 1, Until: f.Down.Add(time.Second)}
		}
	})
	rt.LoseSlot(0)
}

// TerminateConnections has the next n uses of connections meet terminated ones,
// and loses the slot.
func (rt *Server) TerminateConnections(n int) {
	rt.Faults.Set(func(f *fault.InForce) {
		f.Terminated = fault.Terminated{Rights: fault.Budget(n), Subscriptions: fault.Budget(n)}
	})
	if n != 0 {
		rt.LoseSlot(0)
	}
}

// connectionTerminated is PostgreSQL's error in the words of the server's
// driver.
const connectionTerminated = "FATAL 57P01 (admin_shutdown) terminating connection due to administrator command"

// ExhaustConnections takes the connections of the database for d, and loses the
// slot.
func (rt *Server) ExhaustConnections(d time.Duration) {
	rt.Faults.Set(func(f *fault.InForce) { f.Full = time.Now().Add(d) })
	rt.freeConnections()
	if d > 0 {
		rt.takeConnections(d)
	}
	rt.LoseSlot(0)
}

// takeConnections takes the connections of the database for a while.
func (rt *Server) takeConnections(d time.Duration) {
	ctx, free := context.WithTimeout(rt.ctx, d)
	rt.mu.Lock()
	rt.free = free
	rt.mu.Unlock()
	rt.Go(func() { // ends with ctx
		defer free()
		if err := rt.db.Exhaust(ctx); err != nil {
			rt.log.Warn("the connections of the database cannot be taken", "error", err)
		}
	})
}

// freeConnections ends takeConnections.
func (rt *Server) freeConnections() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.free != nil {
		rt.free()
		rt.free = nil
	}
}

// StopWorkers ends the workers that read the log, until somebody subscribes.
func (rt *Server) StopWorkers() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.stopPoller()
}

// RestartWorkers starts them anew, which deletes all subscriptions.
func (rt *Server) RestartWorkers() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.stopPoller()
	if !rt.closed {
		rt.asleep = time.Now()
		rt.startPoller()
	}
}

// ExceedRate discards row changes for d, or a tick if that is longer.
func (rt *Server) ExceedRate(d time.Duration) {
	over := time.Now().Add(max(d, rt.timing.RateTick))
	rt.Faults.Set(func(f *fault.InForce) { f.Over = over })
}

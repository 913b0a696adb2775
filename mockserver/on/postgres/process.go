package postgres

import (
	"bytes"
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// process is one run of the program postgres.
type process struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	log   tail
	guard *guard
}

// launch starts postgres. The goroutine that waits for it ends with it, and is
// waited for by stop.
func (c *Cluster) launch() (*process, error) {
	p := &process{done: make(chan struct{})}
	p.cmd = c.command(exec.Command(c.bin.postgres, append([]string{"-D", c.dir}, c.settings...)...))
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	p.guard = startGuard(p.cmd.Process.Pid, c.dir, c.temporary)
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // what it said is in the log
	}()
	return p, nil
}

// stopMode is how PostgreSQL is told to stop.
type stopMode int

const (
	fast      stopMode = iota // ends connections, and writes what it has
	immediate                 // drops everything, and recovers at the next start
)

// patience is how long a stop may take before the next harder one.
const patience = 10 * time.Second

// stop ends the process and waits for it.
func (p *process) stop(how stopMode) {
	if how == fast {
		interrupt(p.cmd.Process)
		p.ended(patience)
	}
	quit(p.cmd.Process)
	if !p.ended(patience) {
		_ = p.cmd.Process.Kill() // its children notice that it is gone
	}
	<-p.done
	p.guard.stop()
}

func (p *process) ended(within time.Duration) bool {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}

// said returns the end of what the process has written.
func (p *process) said() string { return p.log.String() }

// tail keeps the last few kilobytes of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const maxTail = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - maxTail; over > 0 {
		t.buf = append([]byte(nil), t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}

package realtime

import "sync"

// maxBacklog is how many bytes may wait for a socket. The real server kills a
// socket's process, without a close frame, when its heap grows past 50 MB,
// which is what a client that reads too slowly makes it do.
const maxBacklog = 50_000_000

// mailbox is what a socket has still to do, in order: frames that came in and
// frames that are to go out. On the real server both wait in the mailbox of
// the one process that serves a socket, and that is why a slow join holds up
// everything behind it.
type mailbox struct {
	wake chan struct{} // holds a value when there may be something to take

	mu     sync.Mutex
	queue  []task
	size   int
	closed bool
}

// task is one thing to do, and how many bytes wait with it.
type task struct {
	size int
	do   func()
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// put adds a task and returns how many bytes wait then. It never blocks.
func (m *mailbox) put(size int, do func()) (backlog int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0
	}
	m.queue = append(m.queue, task{size, do})
	m.size += size
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return m.size
}

// take removes the first task.
func (m *mailbox) take() (do func(), ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		m.queue = nil
		return nil, false
	}
	first := m.queue[0]
	m.queue[0] = task{}
	m.queue = m.queue[1:]
	m.size -= first.size
	return first.do, true
}

// backlog returns how many bytes wait.
func (m *mailbox) backlog() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size
}

// close drops what waits and all that is put later.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.queue, m.size = true, nil, 0
}

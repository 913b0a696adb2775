package deliver

// job is a value under way.
type job[T any] struct {
	value    T
	key      string
	lane     string
	position string
	attempts int // that counted
	tries    int
	done     bool  // the effect has happened, and is not marked
	dead     error // why it is given up: what is left is to bury it

	prev, next *job[T] // in pending
	// after is the last position of the values behind this one, up to the next that
	// is under way. Those are over, and wait for this one.
	after string
}

// pending is the values under way, in the order of their coming, and the position
// up to which all values are over. It does not hold what is over: that is one
// position for each value under way, however many there are.
type pending[T any] struct {
	first, last *job[T]
	len         int
	reached     string
}

func (p *pending[T]) add(j *job[T]) {
	if j.prev = p.last; j.prev == nil {
		p.first = j
	} else {
		j.prev.next = j
	}
	p.last = j
	p.len++
}

// end takes a value out that is over.
func (p *pending[T]) end(j *job[T]) {
	reached := &p.reached
	if j.prev != nil {
		reached = &j.prev.after
		j.prev.next = j.next
	} else {
		p.first = j.next
	}
	if j.next != nil {
		j.next.prev = j.prev
	} else {
		p.last = j.prev
	}
	p.len--
	for _, position := range []string{j.position, j.after} {
		if position != "" {
			*reached = position
		}
	}
}

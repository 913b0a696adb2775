package enrich

// heap has the value of the least time first.
type heap[V any] []timed[V]

type timed[V any] struct {
	at    int64
	value V
}

func (h *heap[V]) push(at int64, v V) {
	*h = append(*h, timed[V]{at, v})
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].at <= s[i].at {
			return
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *heap[V]) pop() timed[V] {
	s := *h
	first, n := s[0], len(s)-1
	s[0], s[n] = s[n], timed[V]{}
	s = s[:n]
	*h = s
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			return first
		}
		if down+1 < n && s[down+1].at < s[down].at {
			down++
		}
		if s[i].at <= s[down].at {
			return first
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
}

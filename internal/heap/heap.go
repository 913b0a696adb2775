// Package heap is a queue by time, for one goroutine.
package heap

// Heap has the value of the least time first. The zero value is empty.
type Heap[V any] []Timed[V]

// Timed is a value with its time.
type Timed[V any] struct {
	At    int64
	Value V
}

// Push adds a value.
func (h *Heap[V]) Push(at int64, v V) {
	*h = append(*h, Timed[V]{at, v})
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].At <= s[i].At {
			return
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

// Pop removes the first value, which must be there, and returns it.
func (h *Heap[V]) Pop() Timed[V] {
	s := *h
	first, n := s[0], len(s)-1
	s[0], s[n] = s[n], Timed[V]{}
	s = s[:n]
	*h = s
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			return first
		}
		if down+1 < n && s[down+1].At < s[down].At {
			down++
		}
		if s[i].At <= s[down].At {
			return first
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
}

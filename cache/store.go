package cache

import (
	"hash/maphash"
	"iter"
	"math/bits"
)

// store is a map whose states can be kept: a hash trie, 32 ways at each level,
// of which a change copies the nodes on its way. Those that were made since the
// last publish nobody else has, so they are changed in place. One goroutine
// changes it; a snapshot may be read by any.
type store[K comparable, V any] struct {
	root *node[K, V]
	size int
	edit *byte // owns the nodes made since the last publish
}

// snapshot is a state of a store. It never changes.
type snapshot[K comparable, V any] struct {
	root *node[K, V]
	size int
}

// node has a slot for each bit of its bitmap. Below maxShift the hashes of its
// keys are equal, and the slots are a list.
type node[K comparable, V any] struct {
	edit   *byte
	bitmap uint32
	slots  []slot[K, V]
}

// slot is a node further down, or a key and its value.
type slot[K comparable, V any] struct {
	sub   *node[K, V]
	key   K
	value V
}

const (
	levelBits = 5
	maxShift  = 60 // 12 levels of 5 bits
)

// seed is one for all, so that a hash can be made without the store.
var seed = maphash.MakeSeed()

func (s *snapshot[K, V]) get(k K) (v V, ok bool) {
	n, h := s.root, maphash.Comparable(seed, k)
	for shift := uint(0); n != nil; shift += levelBits {
		i, there := n.find(k, h, shift)
		if !there {
			return v, false
		}
		if n.slots[i].sub == nil {
			if n.slots[i].key != k {
				return v, false
			}
			return n.slots[i].value, true
		}
		n = n.slots[i].sub
	}
	return v, false
}

// find returns the slot where a key is, if it is there, or where it would go.
func (n *node[K, V]) find(k K, h uint64, shift uint) (i int, there bool) {
	if shift >= maxShift {
		for i := range n.slots {
			if n.slots[i].key == k {
				return i, true
			}
		}
		return len(n.slots), false
	}
	bit := uint32(1) << (h >> shift & 31)
	return bits.OnesCount32(n.bitmap & (bit - 1)), n.bitmap&bit != 0
}

func (s *snapshot[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if s.root != nil {
			s.root.walk(yield)
		}
	}
}

func (n *node[K, V]) walk(yield func(K, V) bool) bool {
	for i := range n.slots {
		if sub := n.slots[i].sub; sub != nil {
			if !sub.walk(yield) {
				return false
			}
		} else if !yield(n.slots[i].key, n.slots[i].value) {
			return false
		}
	}
	return true
}

// Peek returns a value as it is, published or not.
func (s *store[K, V]) Peek(k K) (V, bool) {
	now := snapshot[K, V]{s.root, s.size}
	return now.get(k)
}

// All returns everything as it is. The store must not be changed meanwhile.
func (s *store[K, V]) All() iter.Seq2[K, V] {
	now := snapshot[K, V]{s.root, s.size}
	return now.all()
}

func (s *store[K, V]) Len() int { return s.size }

// publish returns the present state.
func (s *store[K, V]) publish() snapshot[K, V] {
	s.edit = nil
	return snapshot[K, V]{s.root, s.size}
}

// Set sets a value and returns the one before.
func (s *store[K, V]) Set(k K, v V) (old V, had bool) {
	if s.edit == nil {
		s.edit = new(byte)
	}
	if s.root == nil {
		s.root = &node[K, V]{edit: s.edit}
	}
	s.root, old, had = s.set(s.root, k, v, maphash.Comparable(seed, k), 0)
	if !had {
		s.size++
	}
	return old, had
}

func (s *store[K, V]) set(n *node[K, V], k K, v V, h uint64, shift uint) (_ *node[K, V], old V, had bool) {
	n = s.own(n)
	i, there := n.find(k, h, shift)
	if !there {
		n.insert(i, slot[K, V]{key: k, value: v})
		if shift < maxShift {
			n.bitmap |= 1 << (h >> shift & 31)
		}
		return n, old, false
	}
	at := &n.slots[i]
	switch {
	case at.sub != nil:
		at.sub, old, had = s.set(at.sub, k, v, h, shift+levelBits)
	case at.key == k:
		old, had = at.value, true
		at.value = v
	default: // two keys in one slot: both go a level down
		sub := &node[K, V]{edit: s.edit}
		sub, _, _ = s.set(sub, at.key, at.value, maphash.Comparable(seed, at.key), shift+levelBits)
		sub, _, _ = s.set(sub, k, v, h, shift+levelBits)
		*at = slot[K, V]{sub: sub}
	}
	return n, old, had
}

// own returns the node itself if nobody else has it, a copy otherwise.
func (s *store[K, V]) own(n *node[K, V]) *node[K, V] {
	if n.edit == s.edit {
		return n
	}
	return &node[K, V]{edit: s.edit, bitmap: n.bitmap, slots: append(make([]slot[K, V], 0, len(n.slots)+1), n.slots...)}
}

func (n *node[K, V]) insert(i int, x slot[K, V]) {
	n.slots = append(n.slots, slot[K, V]{})
	copy(n.slots[i+1:], n.slots[i:])
	n.slots[i] = x
}

// Delete removes a key and returns its value.
func (s *store[K, V]) Delete(k K) (old V, had bool) {
	if _, there := s.Peek(k); !there {
		return old, false
	}
	if s.edit == nil {
		s.edit = new(byte)
	}
	s.root, old = s.delete(s.root, k, maphash.Comparable(seed, k), 0)
	if s.size--; s.size == 0 {
		s.root = nil
	}
	return old, true
}

// delete removes a key that is there. A node that is left with one key goes
// into its parent's slot.
func (s *store[K, V]) delete(n *node[K, V], k K, h uint64, shift uint) (_ *node[K, V], old V) {
	n = s.own(n)
	i, _ := n.find(k, h, shift)
	at := &n.slots[i]
	if at.sub != nil {
		at.sub, old = s.delete(at.sub, k, h, shift+levelBits)
		if len(at.sub.slots) == 1 && at.sub.slots[0].sub == nil {
			*at = at.sub.slots[0]
		}
		return n, old
	}
	old = at.value
	copy(n.slots[i:], n.slots[i+1:])
	n.slots[len(n.slots)-1] = slot[K, V]{}
	n.slots = n.slots[:len(n.slots)-1]
	if shift < maxShift {
		n.bitmap &^= 1 << (h >> shift & 31)
	}
	return n, old
}

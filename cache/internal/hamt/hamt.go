// Package hamt is a map whose states can be kept, as a table cache publishes
// them: a hash array mapped trie.
package hamt

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"
	"unsafe"
)

// Map is a map whose states can be kept: a tree by the hashes of its keys, of
// which a change copies the nodes on its way. Those that were made since the
// last Publish nobody else has, so they are changed in place. One goroutine
// changes it; a Snapshot may be read by any. The zero Map is empty.
//
//	root ─► fork of 16 ways ─► … ─► bucket of up to 16 keys
//
// In a bucket, the tags, a byte of each key's hash, are beside each other and tell
// which key to look at. Several ways of a fork may lead to one bucket, as in
// extendible hashing: a bucket that is full becomes two, of which each has half of
// the ways, and only one that has a single way becomes a fork. That keeps buckets
// two thirds full on average, and a change copies small things only.
type Map[K comparable, V any] struct {
	root *node
	size int
	edit uint64 // of the nodes made since the last Publish
}

// Snapshot is a state of a Map. It never changes.
type Snapshot[K comparable, V any] struct {
	root *node
	size int
}

// node is the head of a fork or a bucket, which it is by leaf. A pointer to the head
// stands for either: interfaces would make forks twice as large, of which each
// change copies some.
type node struct {
	edit  uint64
	leaf  bool
	depth uint8 // of a bucket: by how many bits of its way it differs from others of its fork
	n     uint8 // of a bucket: its keys
}

type fork struct {
	node
	to [ways]*node // none is nil
}

type bucket[K comparable, V any] struct {
	node
	tags  [bucketSize]uint8
	slots [bucketSize]slot[K, V]
}

// slot has its key last, so that an empty value takes no room.
type slot[K comparable, V any] struct {
	value V
	key   K
}

const (
	wayBits    = 4
	ways       = 1 << wayBits
	bucketSize = 16
)

// levels is for how many levels one hash has bits. Keys that agree in all of
// them go on with the hash of the next seed.
var levels = 56 / wayBits

// seeds are for all maps, so that a hash can be made without one.
var seeds = [4]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed(), maphash.MakeSeed(), maphash.MakeSeed()}

// Hash returns the hash of a key, the same in all maps of the process.
func Hash[K comparable](k K) uint64 { return maphash.Comparable(seeds[0], k) }

// way is which way a key with a hash goes at a level.
func way[K comparable](k K, hash uint64, level int) int {
	if level >= levels {
		hash, level = maphash.Comparable(seeds[level/levels%len(seeds)], k), level%levels
	}
	return int(hash >> (level * wayBits) % ways)
}

func tag(hash uint64) uint8 { return uint8(hash >> 56) }

func (n *node) fork() *fork { return (*fork)(unsafe.Pointer(n)) }

func bucketOf[K comparable, V any](n *node) *bucket[K, V] { return (*bucket[K, V])(unsafe.Pointer(n)) }

// Get returns the value of a key.
func (s *Snapshot[K, V]) Get(k K) (v V, ok bool) {
	n := s.root
	if n == nil {
		return v, false
	}
	h := Hash(k)
	for level := 0; !n.leaf; level++ {
		n = n.fork().to[way(k, h, level)]
	}
	b := bucketOf[K, V](n)
	if i := b.find(k, tag(h)); i >= 0 {
		return b.slots[i].value, true
	}
	return v, false
}

// EqualBytes has the highest bit of each byte of x that is b, and perhaps of one
// above such a byte.
func EqualBytes(x uint64, b uint8) uint64 {
	const ones = 0x0101010101010101
	x ^= ones * uint64(b)
	return (x - ones) &^ x & (ones << 7)
}

// find returns where in the bucket a key is, or -1.
func (b *bucket[K, V]) find(k K, tag uint8) int {
	for from := 0; from < int(b.n); from += 8 {
		tags := binary.LittleEndian.Uint64(b.tags[from:])
		for m := EqualBytes(tags, tag); m != 0; m &= m - 1 {
			if i := from + bits.TrailingZeros64(m)/8; i < int(b.n) && b.slots[i].key == k {
				return i
			}
		}
	}
	return -1
}

// Len returns how many keys there are.
func (s *Snapshot[K, V]) Len() int { return s.size }

// All returns everything, in no particular order.
func (s *Snapshot[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if s.root != nil {
			walk(s.root, yield)
		}
	}
}

func walk[K comparable, V any](n *node, yield func(K, V) bool) bool {
	if n.leaf {
		b := bucketOf[K, V](n)
		for i := range b.slots[:b.n] {
			if !yield(b.slots[i].key, b.slots[i].value) {
				return false
			}
		}
		return true
	}
	for i, to := range n.fork().to {
		if to.leaf && i>>to.depth != 0 {
			continue // an earlier way led there
		}
		if !walk(to, yield) {
			return false
		}
	}
	return true
}

// Peek returns a value as it is, published or not.
func (s *Map[K, V]) Peek(k K) (V, bool) {
	now := Snapshot[K, V]{s.root, s.size}
	return now.Get(k)
}

// All returns everything as it is. The Map must not be changed meanwhile.
func (s *Map[K, V]) All() iter.Seq2[K, V] {
	now := Snapshot[K, V]{s.root, s.size}
	return now.All()
}

// Len returns how many keys there are.
func (s *Map[K, V]) Len() int { return s.size }

// Publish returns the present state. After it, a copy of the Map that is changed
// instead of it changes nothing that it has.
func (s *Map[K, V]) Publish() Snapshot[K, V] {
	s.edit++
	return Snapshot[K, V]{s.root, s.size}
}

// place is where a node hangs: at a way of a fork, or, without one, at the root.
type place struct {
	in  *fork
	way int
}

func (s *Map[K, V]) at(p place) *node {
	if p.in == nil {
		return s.root
	}
	return p.in.to[p.way]
}

// put hangs a node there, and a bucket at all the ways that are its own.
func (s *Map[K, V]) put(p place, n *node) {
	if p.in == nil {
		s.root = n
		return
	}
	step := ways
	if n.leaf {
		step = 1 << n.depth
	}
	for i := p.way % step; i < ways; i += step {
		p.in.to[i] = n
	}
}

// own has the node at a place to be changed: itself if nobody else has it, else
// a copy that takes its place.
func (s *Map[K, V]) own(p place) *node {
	n := s.at(p)
	switch {
	case n.edit == s.edit:
		return n
	case n.leaf:
		b := *bucketOf[K, V](n)
		n = &b.node
	default:
		f := *n.fork()
		n = &f.node
	}
	n.edit = s.edit
	s.put(p, n)
	return n
}

// Set sets a value and returns the one before.
func (s *Map[K, V]) Set(k K, v V) (old V, had bool) {
	if s.root == nil {
		s.root = &s.newBucket(0).node
	}
	h := Hash(k)
	for p, level := (place{}), 0; ; {
		n := s.at(p)
		if !n.leaf {
			p = place{s.own(p).fork(), way(k, h, level)}
			level++
			continue
		}
		i := bucketOf[K, V](n).find(k, tag(h))
		if i < 0 && n.n == bucketSize {
			s.split(p, level)
			continue
		}
		b := bucketOf[K, V](s.own(p))
		if i >= 0 {
			old, b.slots[i].value = b.slots[i].value, v
			return old, true
		}
		b.add(tag(h), slot[K, V]{v, k})
		s.size++
		return old, false
	}
}

func (s *Map[K, V]) newBucket(depth uint8) *bucket[K, V] {
	return &bucket[K, V]{node: node{edit: s.edit, leaf: true, depth: depth}}
}

func (b *bucket[K, V]) add(tag uint8, x slot[K, V]) {
	b.tags[b.n], b.slots[b.n] = tag, x
	b.n++
}

func (b *bucket[K, V]) remove(i int) {
	b.n--
	b.tags[i], b.slots[i] = b.tags[b.n], b.slots[b.n]
	b.slots[b.n] = slot[K, V]{}
}

// split makes two buckets of one that is full, by the next bit of their ways,
// or, if there is none, a fork with all of its ways to it. The level is that
// below its fork.
func (s *Map[K, V]) split(p place, level int) {
	zero := bucketOf[K, V](s.own(p))
	if p.in == nil || zero.depth == wayBits {
		f := &fork{node: node{edit: s.edit}}
		s.put(p, &f.node)
		zero.depth = 0
		s.put(place{f, 0}, &zero.node)
		return
	}
	bit := 1 << zero.depth
	zero.depth++
	one := s.newBucket(zero.depth)
	for i := 0; i < int(zero.n); {
		x := zero.slots[i]
		if way(x.key, Hash(x.key), level-1)&bit == 0 {
			i++
			continue
		}
		one.add(zero.tags[i], x)
		zero.remove(i)
	}
	s.put(place{p.in, p.way | bit}, &one.node)
}

// Delete removes a key and returns its value.
func (s *Map[K, V]) Delete(k K) (old V, had bool) {
	old, had = s.Peek(k)
	if !had {
		return old, false
	}
	s.size--
	s.delete(place{}, k, Hash(k), 0)
	if s.size == 0 {
		s.root = nil
	}
	return old, true
}

// delete removes a key that is there. Where a fork is left with one bucket,
// that takes its place.
func (s *Map[K, V]) delete(p place, k K, h uint64, level int) {
	n := s.own(p)
	if n.leaf {
		b := bucketOf[K, V](n)
		b.remove(b.find(k, tag(h)))
		return
	}
	below := place{n.fork(), way(k, h, level)}
	s.delete(below, k, h, level+1)
	if b := s.merge(below); b != nil {
		if b.depth = 0; p.in != nil {
			b.depth = wayBits
		}
		s.put(p, &b.node)
	}
}

// merge puts a bucket together with the one that it was split from, as long as
// the two of them would be half full at most, so that a key that comes and goes
// does not split and merge with it. It returns the bucket if it is the only one
// of its fork then.
func (s *Map[K, V]) merge(p place) *bucket[K, V] {
	if !s.at(p).leaf {
		return nil
	}
	b := bucketOf[K, V](s.own(p))
	for ; b.depth > 0; s.put(p, &b.node) {
		other := p.in.to[p.way^1<<(b.depth-1)]
		if !other.leaf || other.depth != b.depth || int(b.n+other.n) > bucketSize/2 {
			return nil
		}
		for o, i := bucketOf[K, V](other), uint8(0); i < other.n; i++ {
			b.add(o.tags[i], o.slots[i])
		}
		b.depth--
	}
	return b
}

package rowjson

import (
	"hash/maphash"
	"strconv"
	"strings"
	"sync/atomic"
)

// Names is a list of columns by which the keys of rows are recognized. Keys of
// one table mostly come in the same order, so that a key is compared first with
// the one that came last time behind the one before. It is safe for concurrent
// use.
type Names struct {
	list   []string
	quoted []string       // with the quotes and the colon
	next   []atomic.Int32 // which came behind i-1
	index  map[string]int
	sum    uint64 // of the list
}

// NewNames returns the names of the list, of which the first of two equal ones
// counts.
func NewNames(list []string) *Names {
	n := &Names{list: list, quoted: make([]string, len(list)+1), next: make([]atomic.Int32, len(list)+1), index: make(map[string]int, len(list))}
	var sum maphash.Hash
	sum.SetSeed(namesSeed)
	for i, name := range list {
		n.quoted[i] = `"` + name + `":`
		if !isPlain([]byte(name)) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '"' }) {
			n.quoted[i] = noKey // its key is written in other ways
		}
		if _, ok := n.index[name]; !ok {
			n.index[name] = i
		}
		n.next[i].Store(int32(i))
		sum.WriteString(strconv.Quote(name)) // which says where it ends
	}
	n.quoted[len(list)], n.sum = noKey, sum.Sum64()
	n.next[len(list)].Store(int32(len(list)))
	return n
}

const noKey = "" // with which no key is compared

var namesSeed = maphash.MakeSeed()

// Len returns how many different names there are.
func (n *Names) Len() int { return len(n.index) }

// Missing returns, in order, the names that a row does not have, which was taken
// with the same names.
func (n *Names) Missing(members []Cell) (missing []string) {
	var room [4]uint64
	seen := room[:]
	if len(n.list) > 64*len(room) {
		seen = make([]uint64, len(n.list)/64+1)
	}
	found := 0
	for i := range members {
		if which := members[i].column; which >= 0 {
			word, bit := &seen[which/64], uint64(1)<<(which%64)
			if *word&bit == 0 {
				found++
			}
			*word |= bit
		}
	}
	if found == len(n.index) {
		return nil
	}
	for i, name := range n.list {
		if seen[i/64]&(1<<(i%64)) == 0 {
			missing = append(missing, name)
		}
	}
	return missing
}

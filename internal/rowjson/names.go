package rowjson

import "sync/atomic"

// Names is a list of columns by which the keys of rows are recognized. Keys of
// one table mostly come in the same order, so that a key is compared first with
// the one that came last time behind the one before. It is safe for concurrent
// use.
type Names struct {
	list   []string
	quoted []string       // with the quotes and the colon
	next   []atomic.Int32 // which came behind i-1
	index  map[string]int
}

// NewNames returns the names of the list, of which the first of two equal ones
// counts.
func NewNames(list []string) *Names {
	n := &Names{list: list, quoted: make([]string, len(list)), next: make([]atomic.Int32, len(list)+1), index: make(map[string]int, len(list))}
	for i, name := range list {
		n.quoted[i] = `"` + name + `":`
		if !isPlain([]byte(name)) {
			n.quoted[i] = "\x00" // which no key is
		}
		if _, ok := n.index[name]; !ok {
			n.index[name] = i
		}
		n.next[i].Store(int32(i))
	}
	return n
}

// Len returns how many different names there are.
func (n *Names) Len() int { return len(n.index) }

// name takes a key as Cursor.Key does, and returns which name it is, -1 and the
// key for none. after is what it returned for the key before, -1 for none.
func (c *Cursor) name(n *Names, after int) (which int, key []byte) {
	guess := int(n.next[after+1].Load())
	if guess < len(n.quoted) && hasPrefix(c.Text[c.Pos:], n.quoted[guess]) {
		c.Pos += len(n.quoted[guess])
		return guess, nil
	}
	key = c.Key()
	which, ok := n.index[string(key)]
	if !ok {
		return -1, key
	}
	n.next[after+1].Store(int32(which))
	return which, key
}

// Row takes an object, or another value, and returns its text and, in order,
// the names that an object does not have.
func (c *Cursor) Row(n *Names) (row []byte, missing []string) {
	if c.Next() != '{' {
		return c.Value(), nil
	}
	start, found := c.Pos, 0
	var room [64]bool
	seen := room[:]
	if len(n.list) > len(room) {
		seen = make([]bool, len(n.list))
	}
	at := -1
	for c.Open('{'); c.More('}'); c.skip() {
		if i, _ := c.name(n, at); i >= 0 {
			if at = i; !seen[i] {
				seen[i] = true
				found++
			}
		}
	}
	if c.failed {
		return nil, nil
	}
	if found < len(n.index) {
		missing = make([]string, 0, len(n.index)-found)
		for i, name := range n.list {
			if !seen[i] {
				missing = append(missing, name)
			}
		}
	}
	return c.Text[start:c.Pos], missing
}

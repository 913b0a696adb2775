package rowjson

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Cursor goes over JSON text once, from front to back, and checks it on the
// way. It accepts what encoding/json accepts. At the first byte that is no JSON
// it stops: every method then returns a zero value, and Err the reason.
//
//	for c.Open('{'); c.More('}'); {
//		key := c.Key()
//		value := c.Value()
//	}
type Cursor struct {
	Text []byte
	Pos  int

	first  bool // no member of the container that was opened last has been taken
	failed bool // at Pos
}

// Err returns an error if the text up to Pos is no JSON, or no such JSON as was
// asked for. It is that of encoding/json where that has one.
func (c *Cursor) Err() error {
	if !c.failed {
		return nil
	}
	var v json.RawMessage
	if err := json.Unmarshal(c.Text, &v); err != nil {
		return err // it says what is wrong in more words
	}
	return fmt.Errorf("unexpected JSON at byte %d", c.Pos)
}

// End returns the error of Err, or one if something follows.
func (c *Cursor) End() error {
	if !c.failed {
		if c.Pos = afterSpace(c.Text, c.Pos); c.Pos < len(c.Text) {
			c.failed = true
		}
	}
	return c.Err()
}

// to moves the cursor to the place that one of the functions ...End returned.
func (c *Cursor) to(end int) {
	c.Pos = end
	if end < 0 {
		c.Pos, c.failed = ^end, true
	}
}

// Next returns the byte that the next value begins with, 0 if there is none.
func (c *Cursor) Next() byte {
	if c.failed {
		return 0
	}
	if c.Pos = afterSpace(c.Text, c.Pos); c.Pos == len(c.Text) {
		return 0
	}
	return c.Text[c.Pos]
}

// Open takes the bracket that opens an object or an array.
func (c *Cursor) Open(bracket byte) {
	if c.Next() != bracket {
		c.failed = true
		return
	}
	c.Pos++
	c.first = true
}

// Enter takes the bracket that opens an object or an array and reports true, or
// takes a value of another kind and reports false.
func (c *Cursor) Enter(bracket byte) bool {
	if c.Next() != bracket {
		c.skip()
		return false
	}
	c.Open(bracket)
	return true
}

// More moves to the next member or element and reports true, or takes the
// bracket that closes and reports false.
func (c *Cursor) More(bracket byte) bool {
	if c.failed {
		return false
	}
	i := afterSpace(c.Text, c.Pos)
	first := c.first
	c.first = false
	switch {
	case i == len(c.Text):
	case c.Text[i] == bracket:
		c.Pos = i + 1
		return false
	case first:
		c.Pos = i
		return true
	case c.Text[i] == ',':
		c.Pos = afterSpace(c.Text, i+1)
		return true
	}
	c.to(^i)
	return false
}

// Key takes a key and the colon, and returns the key's text. It points into the
// text of the cursor unless it has an escape.
func (c *Cursor) Key() []byte {
	if c.failed {
		return nil
	}
	start := c.Pos
	end, value := keyEnd(c.Text, start)
	if c.to(value); c.failed {
		return nil
	}
	body := c.Text[start+1 : end-1]
	if isPlain(body) {
		return body
	}
	return appendText(make([]byte, 0, len(body)), body)
}

// KeyOf takes a key and returns which of the list it is, -1 if it is none. The
// list has the keys as they are written, with quotes and colon, and in the order
// in which they mostly come: those behind the last one, which is after, are
// compared first.
func (c *Cursor) KeyOf(list []string, after int) int {
	for which := after + 1; which < len(list); which++ {
		if hasPrefix(c.Text[c.Pos:], list[which]) {
			c.Pos += len(list[which])
			return which
		}
	}
	key := c.Key()
	return slices.IndexFunc(list, func(quoted string) bool { return quoted[1:len(quoted)-2] == string(key) })
}

// Value takes a value of any kind and returns its text.
func (c *Cursor) Value() []byte {
	start, end := c.skip()
	return c.Text[start:end]
}

// skip takes a value and returns where it is.
func (c *Cursor) skip() (start, end int) {
	if c.failed {
		return 0, 0
	}
	start = afterSpace(c.Text, c.Pos)
	if c.to(valueEnd(c.Text, start)); c.failed {
		return 0, 0
	}
	return start, c.Pos
}

// Split splits a JSON array into its elements, which are pieces of its text.
func Split(array []byte) (elements []json.RawMessage, err error) {
	c := Cursor{Text: array}
	if !c.Enter('[') {
		return nil, cmp.Or(c.End(), errNoArray)
	}
	for c.More(']') {
		element := c.Value()
		if elements == nil { // the others will be about as long
			elements = make([]json.RawMessage, 0, min(len(array)/(len(element)+1)+1, 1024))
		}
		elements = append(elements, element)
	}
	if err := c.End(); err != nil {
		return nil, err
	}
	return elements, nil
}

var errNoArray = errors.New("not an array")

// Has reports whether a row is an object that has all the columns.
func Has(row []byte, columns []string) bool {
	var room [8]bool
	seen := append(room[:0], make([]bool, len(columns))...)
	c := Cursor{Text: row}
	for c.Open('{'); c.More('}'); c.skip() {
		key := c.Key()
		for i, name := range columns {
			seen[i] = seen[i] || name == string(key)
		}
	}
	return c.End() == nil && !slices.Contains(seen, false)
}

// Empty reports whether an object has no members.
func Empty(object []byte) bool {
	c := Cursor{Text: object}
	c.Open('{')
	return !c.More('}')
}

package deliver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
	"unicode/utf8"
)

// header is the first line of a file of ours.
const header = "gapless deliver 1\n"

// record is a line of the file behind its checksum. One field is set.
type record struct {
	Key      *anyText      `json:"k,omitempty"` // done
	Position *anyText      `json:"p,omitempty"`
	Letter   *letterRecord `json:"d,omitempty"`
	Retried  *anyText      `json:"r,omitempty"` // the key of a letter that was taken back
}

type letterRecord struct {
	Key      anyText   `json:"key"`
	Position anyText   `json:"position,omitempty"`
	Reason   anyText   `json:"reason"`
	Attempts int       `json:"attempts"`
	Value    []byte    `json:"value"`
	At       time.Time `json:"at"`
}

// anyText is a string that JSON keeps byte by byte: as a string if it is UTF-8,
// in base64 within a list if it is not.
type anyText string

// MarshalJSON is as json.Marshaler says.
func (t anyText) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal([][]byte{[]byte(t)})
}

// UnmarshalJSON is as json.Unmarshaler says.
func (t *anyText) UnmarshalJSON(b []byte) error {
	if !bytes.HasPrefix(b, []byte("[")) {
		return json.Unmarshal(b, (*string)(t))
	}
	var list [][]byte
	err := json.Unmarshal(b, &list)
	*t = anyText(bytes.Join(list, nil))
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum continues that of all records before, so that one that is missing in
// between is noticed, too.
type checksum uint32

// line returns a record as a line of the file, and the checksum behind it.
func (c checksum) line(r record) ([]byte, checksum, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, c, err
	}
	next := checksum(crc32.Update(uint32(c), castagnoli, body))
	return fmt.Appendf(nil, "%08x %s\n", uint32(next), body), next, nil
}

// parse reads a line without its end.
func (c checksum) parse(line []byte) (r record, next checksum, err error) {
	sum, body, found := bytes.Cut(line, []byte(" "))
	next = checksum(crc32.Update(uint32(c), castagnoli, body))
	if !found || string(sum) != fmt.Sprintf("%08x", uint32(next)) {
		return r, c, errors.New("its checksum is wrong")
	}
	return r, next, json.Unmarshal(body, &r)
}

// content is what was read of a file, behind its header.
type content struct {
	size  int64 // of the whole records
	lines int
	sum   checksum
	torn  bool // there is more behind them: a record that was not written to its end
}

// readRecords gives the records to take. The error says which one is damaged. What
// a crash leaves of the last record is not damage: a line without its end, or one
// that ends in the blocks that were not written, which are zeros.
func readRecords(from io.Reader, take func(record)) (c content, err error) {
	r := bufio.NewReaderSize(from, 64<<10)
	for {
		line, end := r.ReadBytes('\n')
		if end != nil && end != io.EOF {
			return c, end
		}
		if len(line) == 0 {
			return c, nil
		}
		body := line[:len(line)-1]
		parsed, next, bad := c.sum.parse(body)
		switch {
		case end == nil && bad == nil:
			take(parsed)
			c.size, c.lines, c.sum = c.size+int64(len(line)), c.lines+1, next
			continue
		case end == io.EOF && bad != nil:
			c.torn = true
			return c, nil
		case end == io.EOF: // its end is another byte than it was
			bad = errors.New("it does not end")
		case bytes.Count(body, []byte{0}) > 1: // one may be a flipped bit of a record that was whole
			if _, more := r.Peek(1); more == io.EOF {
				c.torn = true
				return c, nil
			}
		}
		return c, fmt.Errorf("record %d is damaged: %w", c.lines+1, bad)
	}
}

package cdc

import (
	"encoding/json"
	"errors"
)

// SplitRows splits a JSON array, such as the REST API answers with, into its
// rows: each is a piece of the text, and can be the Record of an Insert that As
// decodes. The error is that of encoding/json for text that is not JSON, or
// tells that it is no array.
func SplitRows(array []byte) (rows []json.RawMessage, err error) {
	if rows, ok := splitQuickly(array); ok {
		return rows, nil
	}
	if err := checkJSON(array); err != nil {
		return nil, err
	}
	w := walkArray(array)
	for w.next() {
		rows = append(rows, w.val)
	}
	if w.err != nil { // of JSON, the walker refuses nothing else
		return nil, errors.New("not an array")
	}
	return rows, nil
}

// splitQuickly is SplitRows for text that the scanner takes.
func splitQuickly(array []byte) (rows []json.RawMessage, ok bool) {
	s := scanner{text: array}
	s.space()
	s.open('[')
	for first := true; s.more(']', first); first = false {
		row := s.value()
		if first { // the others will be about as long
			rows = make([]json.RawMessage, 0, min(len(array)/(len(row)+1)+1, 1024))
		}
		rows = append(rows, row)
	}
	s.space()
	return rows, !s.bad && s.pos == len(array)
}

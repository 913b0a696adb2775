package cdc

import (
	"bytes"
	"cmp"
	"slices"
)

// form is what payloads for the same table and operation have in common: all
// but the time, the rows, the ids, which come last, and the list of columns, by
// which a form is found. What is common is compared; it has been read when the
// form was learned.
type form struct {
	parts []part
	after string // what stands between the last part and the ids: names, operation

	change Change // as far as it is in what is common
	ids    learned[idList]
}

// idList is the ids of the last payload of a form, which are mostly those of
// the next.
type idList struct {
	text string
	ids  []int64
}

// idsOf returns the ids of a payload, whose text the scanner is at.
func (f *form) idsOf(s *scanner) []int64 {
	if last := f.ids.last.Load(); last != nil && startsWith(s.text[s.pos:], last.text) {
		s.pos += len(last.text)
		return last.ids
	}
	start := s.pos
	list := s.integers()
	if !s.bad && f.ids.due() {
		f.ids.last.Store(&idList{string(s.text[start:s.pos]), list})
	}
	return list
}

// part is something that differs from payload to payload.
type part struct {
	before string // what stands before it
	key    uint16 // which it is: sawCommitted, sawRecord or sawOldRecord
}

// head is what every payload begins with; the list of columns comes after it.
const head = `{"data":{"columns":`

// maxForms is how many forms are kept of one list of columns.
const maxForms = 8

// form takes a payload of a known form, and returns that, or nil.
func (q *quick) form(s *scanner) *form {
	if !startsWith(s.text, head) {
		return nil
	}
	if q.set = knownColumns(s.text[len(head):]); q.set == nil {
		return nil
	}
	forms, ids := q.set.forms.last.Load(), bytes.LastIndexByte(s.text, '[')
	if forms == nil {
		return nil
	}
	for _, f := range *forms {
		if endsWith(s.text[:ids], f.after) {
			s.pos, s.bad = len(head)+len(q.set.raw), false
			if q.take(s, f, ids) {
				return f
			}
			q.message, q.row, q.oldRow = message{}, nil, nil
		}
	}
	return nil
}

func endsWith(text []byte, s string) bool {
	return len(text) >= len(s) && string(text[len(text)-len(s):]) == s
}

// take takes the parts of a payload of the form, whose ids begin at the place.
func (q *quick) take(s *scanner, f *form, ids int) bool {
	for i := range f.parts {
		p := &f.parts[i]
		if s.bad || !startsWith(s.text[s.pos:], p.before) {
			return false
		}
		s.pos += len(p.before)
		switch p.key {
		case sawCommitted:
			q.committed = s.value()
		case sawRecord:
			q.record, q.row = s.record(q.set.rows.last.Load())
		case sawOldRecord:
			q.oldRecord, q.oldRow = s.record(q.set.oldRows.last.Load())
		}
	}
	if s.bad || s.pos != ids-len(f.after) {
		return false
	}
	s.pos = ids
	q.ids = f.idsOf(s)
	return !s.bad && string(s.text[s.pos:]) == "}"
}

// learnForm keeps the form of a payload that has been read.
func (q *quick) learnForm(payload []byte, c Change) {
	if q.set.raw == "" || !startsWith(payload, head) || !startsWith(payload[len(head):], q.set.raw) || !q.set.forms.due() {
		return
	}
	ids := bytes.LastIndexByte(payload, '[')
	f := &form{change: c}
	pos := len(head) + len(q.set.raw)
	if common := len(payload) - pos - len(q.committed) - len(q.record) - len(q.oldRecord); common > maxColumnText {
		return
	}
	for _, p := range q.inOrder() {
		start := offset(payload, p.text)
		f.parts = append(f.parts, part{before: string(payload[pos:start]), key: p.key})
		pos = start + len(p.text)
	}
	if pos > ids || !endsWith(payload[:ids], `},"ids":`) {
		return
	}
	f.after = string(payload[pos:ids])
	forms := []*form{f}
	if before := q.set.forms.last.Load(); before != nil {
		forms = append(forms, (*before)[:min(len(*before), maxForms-1)]...)
	}
	q.set.forms.last.Store(&forms)
}

type foundPart struct {
	text []byte
	key  uint16
}

// inOrder returns the parts that there were, as they stand in the payload.
func (q *quick) inOrder() []foundPart {
	parts := []foundPart{{q.committed, sawCommitted}, {q.record, sawRecord}, {q.oldRecord, sawOldRecord}}
	parts = slices.DeleteFunc(parts, func(p foundPart) bool { return p.text == nil })
	slices.SortFunc(parts, func(a, b foundPart) int { return cmp.Compare(cap(b.text), cap(a.text)) })
	return parts
}

// offset returns where a piece of text, made by slicing it, begins.
func offset(text, piece []byte) int { return cap(text) - cap(piece) }

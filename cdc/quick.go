package cdc

import "strconv"

// decodeQuickly decodes a payload as the server writes them, in one go over
// its text. It reports false for whatever it is not sure of, be it JSON or
// not: decodeCarefully decides then. What it takes, it decodes alike.
func decodeQuickly(c *Change, payload []byte) (ids []int64, ok bool) {
	s := scanner{text: payload}
	var q quick
	if f := q.form(&s); f != nil {
		*c = f.change
		return q.ids, q.complete(c)
	}
	s, q = scanner{text: payload}, quick{}
	q.payload(&s)
	s.space()
	if s.bad || s.pos < len(payload) || q.saw&needed != needed || len(q.schema) == 0 || len(q.table) == 0 {
		return nil, false
	}
	op, err := parseOp(q.op)
	if err != nil {
		return nil, false
	}
	*c = Change{Op: op, Schema: string(q.schema), Table: string(q.table), Columns: q.set.columns}
	q.learnForm(payload, *c)
	return q.ids, q.complete(c)
}

func (q *quick) payload(s *scanner) {
	s.open('{')
	for first := true; s.more('}', first); first = false {
		switch string(s.key()) {
		case "data":
			q.once(s, sawData)
			q.data(s)
		case "ids":
			q.once(s, sawIDs)
			q.ids = s.integers()
		default:
			s.value()
		}
	}
}

// quick is a payload on its way through decodeQuickly.
type quick struct {
	message
	ids []int64
	saw uint16
	set *columnSet // nil before it was seen

	row, oldRow *rowShape // nil: of no known shape
}

// The keys of a payload that decodeQuickly knows.
const (
	sawData = 1 << iota
	sawIDs
	sawOp
	sawSchema
	sawTable
	sawCommitted
	sawColumns
	sawRecord
	sawOldRecord
	sawErrors

	needed = sawData | sawIDs | sawOp | sawSchema | sawTable | sawColumns
)

// once gives up on a key that comes twice.
func (q *quick) once(s *scanner, key uint16) {
	if q.saw&key != 0 {
		s.fail()
	}
	q.saw |= key
}

func (q *quick) data(s *scanner) {
	s.open('{')
	for first := true; s.more('}', first); first = false {
		switch string(s.key()) {
		case "type":
			q.once(s, sawOp)
			q.op = s.value()
		case "schema":
			q.once(s, sawSchema)
			q.schema = s.plain()
		case "table":
			q.once(s, sawTable)
			q.table = s.plain()
		case "commit_timestamp":
			q.once(s, sawCommitted)
			q.committed = s.value()
		case "columns":
			q.once(s, sawColumns)
			q.columnList(s)
		case "record":
			q.once(s, sawRecord)
			q.record, q.row = s.record(q.knownRow())
		case "old_record":
			q.once(s, sawOldRecord)
			q.oldRecord, q.oldRow = s.record(q.knownOldRow())
		case "errors":
			q.once(s, sawErrors)
			if string(s.value()) != "null" {
				s.fail()
			}
		default:
			s.value()
		}
	}
}

func (q *quick) columnList(s *scanner) {
	if s.bad {
		return
	}
	if q.set = knownColumns(s.text[s.pos:]); q.set != nil {
		s.pos += len(q.set.raw)
		return
	}
	var err error
	if q.set, err = columnsOf(s.value()); err != nil {
		s.fail()
	}
}

func (q *quick) knownRow() *rowShape {
	if q.set == nil {
		return nil
	}
	return q.set.rows.last.Load()
}

func (q *quick) knownOldRow() *rowShape {
	if q.set == nil {
		return nil
	}
	return q.set.oldRows.last.Load()
}

// record takes a row, or null, and says whether it is of the shape.
func (s *scanner) record(sh *rowShape) ([]byte, *rowShape) {
	start := s.pos
	if sh != nil && s.row(&sh.shape) {
		return s.text[start:s.pos], sh
	}
	return s.value(), nil
}

// plain takes a string that stands for itself, and returns what is in it.
func (s *scanner) plain() []byte {
	raw := s.str()
	if s.bad || !isASCII(raw[1:len(raw)-1]) {
		s.fail()
		return nil
	}
	return raw[1 : len(raw)-1]
}

// integers takes a list of integers.
func (s *scanner) integers() []int64 {
	list := make([]int64, 0, 1)
	s.open('[')
	for first := true; s.more(']', first); first = false {
		n, err := strconv.ParseInt(string(s.value()), 10, 64)
		if err != nil {
			s.fail()
		}
		list = append(list, n)
	}
	return list
}

// complete adds to a change what differs from one to the next. It reports false
// if something does not fit: which error that is, decodeCarefully says.
func (q *quick) complete(c *Change) bool {
	var err error
	if c.Committed, err = parseCommitted(q.committed); err != nil {
		return false
	}
	if q.setRecords(c) != nil {
		return false
	}
	if c.Op != Delete {
		c.Missing = q.missing(c.Record)
	}
	if c.OldRecord != nil && q.oldRow == nil {
		learnRow(&q.set.oldRows, q.set, nil, c.OldRecord)
	}
	return true
}

// missing names the columns that the row does not have.
func (q *quick) missing(row []byte) []string {
	if q.row != nil {
		return q.row.missing
	}
	missing := missingFrom(q.set.columns, q.set.index, row)
	learnRow(&q.set.rows, q.set, missing, row)
	return missing
}

// rowShape is the shape of the rows of a list of columns, and which columns
// such a row does not have.
type rowShape struct {
	shape
	missing []string
}

// learnRow keeps the shape of a row, if that is due.
func learnRow(l *learned[rowShape], set *columnSet, missing []string, row []byte) {
	if set.raw == "" || !l.due() { // it is not remembered
		return
	}
	if sh, _, ok := shapeOf(row); ok {
		l.last.Store(&rowShape{sh, missing})
	}
}

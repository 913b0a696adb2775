package pgtype

import (
	"encoding/json"
	"strings"
)

// record is the datum of a composite: a datum for each field.
type record []any

var compositeOps = typeOps{parse: parseRecord, text: formatRecord, compare: compareRecords, json: recordJSON}

func malformedRecord(s, detail string) *Error {
	e := Errorf(CodeBadText, "malformed record literal: \"%s\"", s)
	e.Detail = detail
	return e
}

// parseRecord reads "(1,two,)", in which nothing between commas is NULL.
func parseRecord(t Type, s string) (any, error) {
	rest, ok := strings.CutPrefix(trimSpace(s), "(")
	if !ok {
		return nil, malformedRecord(s, "Missing left parenthesis.")
	}
	r := make(record, 0, len(t.Fields))
	for i := 0; ; i++ {
		text, null, n, ok := recordField(rest)
		if !ok {
			return nil, malformedRecord(s, "Unexpected end of input.")
		}
		if i == len(t.Fields) {
			return nil, malformedRecord(s, "Too many columns.")
		}
		var v any
		if !null {
			var err error
			if v, err = t.Fields[i].Type.Parse(text); err != nil {
				return nil, err
			}
		}
		r = append(r, v)
		end := rest[n] == ')'
		rest = rest[n+1:]
		if !end {
			continue
		}
		if rest != "" {
			return nil, malformedRecord(s, "Junk after right parenthesis.")
		}
		if len(r) < len(t.Fields) {
			return nil, malformedRecord(s, "Too few columns.")
		}
		return r, nil
	}
}

// recordField reads up to a comma or the closing parenthesis, and returns
// where that is.
func recordField(s string) (text string, null bool, n int, ok bool) {
	var b strings.Builder
	quoted := false
	null = true
	for n < len(s) {
		c := s[n]
		switch {
		case !quoted && (c == ',' || c == ')'):
			return b.String(), null, n, true
		case c == '\\':
			if n++; n == len(s) {
				return "", false, 0, false
			}
			b.WriteByte(s[n])
		case c == '"' && quoted && strings.HasPrefix(s[n+1:], `"`):
			n++
			b.WriteByte('"')
		case c == '"':
			quoted = !quoted
		default:
			b.WriteByte(c)
		}
		null = false
		n++
	}
	return "", false, 0, false
}

func formatRecord(t Type, v any) string {
	b := []byte{'('}
	for i, field := range v.(record) {
		if i > 0 {
			b = append(b, ',')
		}
		if field == nil {
			continue
		}
		s := t.Fields[i].Type.Text(field)
		if s == "" || strings.ContainsAny(s, "(),\"\\ \t\n\v\f\r") {
			s = `"` + strings.NewReplacer(`"`, `""`, `\`, `\\`).Replace(s) + `"`
		}
		b = append(b, s...)
	}
	return string(append(b, ')'))
}

func compareRecords(t Type, a, b any) (int, bool) {
	if !t.Comparable() {
		return 0, false
	}
	left, right := a.(record), b.(record)
	for i, f := range t.Fields {
		if n := compareNullsLast(f.Type, left[i], right[i]); n != 0 {
			return n, true
		}
	}
	return 0, true
}

func recordJSON(t Type, v any) []byte {
	b := []byte{'{'}
	for i, field := range v.(record) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(AppendString(b, t.Fields[i].Name), ':')
		if field == nil {
			b = append(b, "null"...)
		} else {
			b = append(b, t.Fields[i].Type.JSON(field)...)
		}
	}
	return append(b, '}')
}

// recordFromJSON makes a composite of an object. Keys that are no fields count
// for nothing.
func (t Type) recordFromJSON(raw json.RawMessage) (any, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, badJSON(err.Error())
	}
	r := make(record, len(t.Fields))
	for i, f := range t.Fields {
		value, ok := object[f.Name]
		if !ok {
			continue
		}
		var err error
		if r[i], err = f.Type.FromJSON(value); err != nil {
			return nil, err
		}
	}
	return r, nil
}

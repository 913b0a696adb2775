package mockserver

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
)

// array is the datum of an array: its elements, or, in an array of several
// dimensions, the arrays of the next one. Lower bounds are not kept.
type array []any

// maxDimensions is PostgreSQL's limit.
const maxDimensions = 6

// arrayOf returns the type of arrays of t.
func arrayOf(t pgType) pgType {
	return pgType{typname: "_" + t.typname, sqlName: t.sqlName + "[]", mod: -1, ops: &arrayOps, item: &t}
}

var arrayOps = typeOps{
	parse:   parseArray,
	text:    func(t pgType, v any) string { return string(appendArray(nil, *t.item, v.(array))) },
	compare: func(t pgType, a, b any) (int, bool) { return compareElements(*t.item, a.(array), b.(array)) },
	json:    func(t pgType, v any) []byte { return appendJSONArray(nil, *t.item, v.(array)) },
}

func malformedArray(s, detail string) *Error {
	e := errf(codeBadText, "malformed array literal: \"%s\"", s)
	e.Detail = detail
	return e
}

const unequalDimensions = "Multidimensional arrays must have sub-arrays with matching dimensions."

// checked returns the array if its sub-arrays are alike. An array of empty
// arrays is empty.
func (a array) checked() (any, error) {
	dims := a.dimensions()
	if len(dims) > maxDimensions {
		return nil, errf("54000", "number of array dimensions (%d) exceeds the maximum allowed (%d)", len(dims), maxDimensions)
	}
	if !a.has(dims) {
		e := errf("2202E", "multidimensional arrays must have array expressions with matching dimensions")
		return nil, e
	}
	if dims[len(dims)-1] == 0 {
		return array{}, nil
	}
	return a, nil
}

// dimensions returns the lengths along the first elements.
func (a array) dimensions() []int {
	dims := []int{len(a)}
	for len(a) > 0 {
		next, ok := a[0].(array)
		if !ok {
			break
		}
		dims = append(dims, len(next))
		a = next
	}
	return dims
}

// has reports whether every sub-array has these lengths.
func (a array) has(dims []int) bool {
	if len(a) != dims[0] {
		return false
	}
	for _, v := range a {
		nested, ok := v.(array)
		if ok != (len(dims) > 1) || ok && !nested.has(dims[1:]) {
			return false
		}
	}
	return true
}

// arrayReader reads an array literal.
type arrayReader struct {
	item  pgType
	whole string
	rest  string
	depth int
}

func parseArray(t pgType, s string) (any, error) {
	r := &arrayReader{item: *t.item, whole: s, rest: trimSpace(s)}
	if strings.HasPrefix(r.rest, "[") { // lower bounds: [2:3]={…}
		_, literal, ok := strings.Cut(r.rest, "=")
		if !ok {
			return nil, malformedArray(s, "Missing assignment operator.")
		}
		r.rest = trimSpace(literal)
	}
	if !strings.HasPrefix(r.rest, "{") {
		return nil, malformedArray(s, `Array value must start with "{" or dimension information.`)
	}
	a, err := r.array()
	if err != nil {
		return nil, err
	}
	if r.rest != "" {
		return nil, malformedArray(s, "Junk after closing right brace.")
	}
	v, err := a.checked()
	if e, ok := err.(*Error); ok && e.Code == "2202E" {
		return nil, malformedArray(s, unequalDimensions)
	}
	return v, err
}

func (r *arrayReader) fail(detail string) error { return malformedArray(r.whole, detail) }

// array reads from an opening brace to behind the closing one.
func (r *arrayReader) array() (array, error) {
	if r.depth++; r.depth > maxDimensions {
		return nil, errf("54000", "number of array dimensions (%d) exceeds the maximum allowed (%d)", r.depth, maxDimensions)
	}
	defer func() { r.depth-- }()
	r.skip(1)
	a := array{}
	if strings.HasPrefix(r.rest, "}") && r.depth == 1 {
		r.skip(1)
		return a, nil
	}
	nested := strings.HasPrefix(r.rest, "{")
	for {
		if brace := strings.HasPrefix(r.rest, "{"); brace && !nested {
			return nil, r.fail(`Unexpected "{" character.`)
		} else if nested && !brace {
			return nil, r.fail("Unexpected array element.")
		}
		v, err := r.element()
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		switch {
		case r.rest == "":
			return nil, r.fail("Unexpected end of input.")
		case r.rest[0] == ',':
			r.skip(1)
		case r.rest[0] == '}':
			r.skip(1)
			return a, nil
		default:
			return nil, r.fail("Unexpected array element.")
		}
	}
}

// skip passes over n bytes and the space behind them.
func (r *arrayReader) skip(n int) { r.rest = strings.TrimLeft(r.rest[n:], " \t\n\v\f\r") }

// element reads an element and the space behind it.
func (r *arrayReader) element() (any, error) {
	switch {
	case r.rest == "":
		return nil, r.fail("Unexpected end of input.")
	case r.rest[0] == '{':
		return r.array()
	case r.rest[0] == ',' || r.rest[0] == '}':
		return nil, r.fail("Unexpected \"" + r.rest[:1] + "\" character.")
	case r.rest[0] == '"':
		s, n, ok := readQuoted(r.rest)
		if !ok {
			return nil, r.fail("Unexpected end of input.")
		}
		r.skip(n)
		return r.item.parse(s)
	}
	var b strings.Builder
	kept := 0 // the length up to the last byte that trimming space must keep
	i := 0
	for ; i < len(r.rest) && !strings.ContainsRune(`{},"`, rune(r.rest[i])); i++ {
		escaped := r.rest[i] == '\\' && i+1 < len(r.rest)
		if escaped {
			i++
		}
		b.WriteByte(r.rest[i])
		if escaped || trimSpace(r.rest[i:i+1]) != "" {
			kept = b.Len()
		}
	}
	if i < len(r.rest) && r.rest[i] != ',' && r.rest[i] != '}' || kept == 0 {
		return nil, r.fail("Unexpected array element.")
	}
	word := b.String()[:kept]
	plain := !strings.Contains(r.rest[:i], `\`)
	r.skip(i)
	if plain && strings.EqualFold(word, "null") {
		return nil, nil
	}
	return r.item.parse(word)
}

// readQuoted reads a string in double quotes, in which a backslash makes the next
// byte literal, and returns its length in s.
func readQuoted(s string) (value string, length int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i + 1, true
		case '\\':
			if i++; i == len(s) {
				return "", 0, false
			}
		}
		b.WriteByte(s[i])
	}
	return "", 0, false
}

// appendArray writes an array literal.
func appendArray(b []byte, item pgType, a array) []byte {
	b = append(b, '{')
	for i, v := range a {
		if i > 0 {
			b = append(b, ',')
		}
		if nested, ok := v.(array); ok {
			b = appendArray(b, item, nested)
			continue
		}
		if v == nil {
			b = append(b, "NULL"...)
			continue
		}
		s := item.text(v)
		if s == "" || strings.EqualFold(s, "null") || strings.ContainsAny(s, "{},\"\\ \t\n\v\f\r") {
			b = append(b, '"')
			b = append(b, quoteEscapes.Replace(s)...)
			b = append(b, '"')
			continue
		}
		b = append(b, s...)
	}
	return append(b, '}')
}

var quoteEscapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

func appendJSONArray(b []byte, item pgType, a array) []byte {
	b = append(b, '[')
	for i, v := range a {
		if i > 0 {
			b = append(b, ',')
		}
		switch v := v.(type) {
		case nil:
			b = append(b, "null"...)
		case array:
			b = appendJSONArray(b, item, v)
		default:
			b = append(b, item.json(v)...)
		}
	}
	return append(b, ']')
}

// compareElements orders two arrays by their elements, NULL being the greatest
// and equal to itself, and then by their dimensions.
func compareElements(item pgType, a, b array) (int, bool) {
	if !item.comparable() {
		return 0, false
	}
	left, right := a.flat(nil), b.flat(nil)
	for i := range min(len(left), len(right)) {
		if n := compareNullsLast(item, left[i], right[i]); n != 0 {
			return n, true
		}
	}
	if n := cmp.Compare(len(left), len(right)); n != 0 {
		return n, true
	}
	dims, other := a.dimensions(), b.dimensions()
	if n := cmp.Compare(len(dims), len(other)); n != 0 {
		return n, true
	}
	for i := range dims {
		if n := cmp.Compare(dims[i], other[i]); n != 0 {
			return n, true
		}
	}
	return 0, true
}

func compareNullsLast(t pgType, a, b any) int {
	if a == nil || b == nil {
		return compareBools(a == nil, b == nil)
	}
	n, _ := t.compare(a, b)
	return n
}

// flat appends the elements of all dimensions.
func (a array) flat(all []any) []any {
	for _, v := range a {
		if nested, ok := v.(array); ok {
			all = nested.flat(all)
		} else {
			all = append(all, v)
		}
	}
	return all
}

// arrayFromJSON makes an array of a JSON array. The first elements say how
// many dimensions it has.
func (t pgType) arrayFromJSON(raw json.RawMessage) (any, error) {
	depth := 0
	for first := bytes.TrimSpace(raw); len(first) > 0 && first[0] == '['; {
		var elements []json.RawMessage
		if err := json.Unmarshal(first, &elements); err != nil {
			return nil, badJSON(err.Error())
		}
		if depth++; depth > maxDimensions {
			return nil, errf("54000", "number of array dimensions (%d) exceeds the maximum allowed (%d)", depth, maxDimensions)
		}
		if len(elements) == 0 {
			break
		}
		first = bytes.TrimSpace(elements[0])
	}
	a, err := t.dimensionFromJSON(raw, depth)
	if err != nil {
		return nil, err
	}
	return a.checked()
}

func (t pgType) dimensionFromJSON(raw json.RawMessage, depth int) (array, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		e := errf(codeBadText, "malformed JSON array")
		e.Detail = unequalDimensions
		return nil, e
	}
	a := make(array, len(elements))
	for i, e := range elements {
		var err error
		if depth > 1 {
			a[i], err = t.dimensionFromJSON(e, depth-1)
		} else {
			a[i], err = t.item.fromJSON(e)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

package pgtype

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
)

// Array is the datum of an array: its elements, or, in an array of several
// dimensions, the arrays of the next one. Lower bounds are not kept.
type Array []any

// maxDimensions is PostgreSQL's limit.
const maxDimensions = 6

// ArrayOf returns the type of arrays of t.
func ArrayOf(t Type) Type {
	return Type{typname: "_" + t.typname, SQLName: t.SQLName + "[]", mod: -1, ops: &arrayOps, Item: &t}
}

var arrayOps = typeOps{
	parse:   parseArray,
	text:    func(t Type, v any) string { return string(appendArray(nil, *t.Item, v.(Array))) },
	compare: func(t Type, a, b any) (int, bool) { return compareElements(*t.Item, a.(Array), b.(Array)) },
	json:    func(t Type, v any) []byte { return appendJSONArray(nil, *t.Item, v.(Array)) },
}

func malformedArray(s, detail string) *Error {
	e := Errorf(CodeBadText, "malformed array literal: \"%s\"", s)
	e.Detail = detail
	return e
}

const unequalDimensions = "Multidimensional arrays must have sub-arrays with matching dimensions."

// checked returns the array if its sub-arrays are alike. An array of empty
// arrays is empty.
func (a Array) checked() (any, error) {
	dims := a.dimensions()
	if len(dims) > maxDimensions {
		return nil, Errorf("54000", "number of array dimensions (%d) exceeds the maximum allowed (%d)", len(dims), maxDimensions)
	}
	if !a.has(dims) {
		e := Errorf("2202E", "multidimensional arrays must have array expressions with matching dimensions")
		return nil, e
	}
	if dims[len(dims)-1] == 0 {
		return Array{}, nil
	}
	return a, nil
}

// dimensions returns the lengths along the first elements.
func (a Array) dimensions() []int {
	dims := []int{len(a)}
	for len(a) > 0 {
		next, ok := a[0].(Array)
		if !ok {
			break
		}
		dims = append(dims, len(next))
		a = next
	}
	return dims
}

// has reports whether every sub-array has these lengths.
func (a Array) has(dims []int) bool {
	if len(a) != dims[0] {
		return false
	}
	for _, v := range a {
		nested, ok := v.(Array)
		if ok != (len(dims) > 1) || ok && !nested.has(dims[1:]) {
			return false
		}
	}
	return true
}

// arrayReader reads an array literal.
type arrayReader struct {
	item  Type
	whole string
	rest  string
	depth int
}

func parseArray(t Type, s string) (any, error) {
	r := &arrayReader{item: *t.Item, whole: s, rest: trimSpace(s)}
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
func (r *arrayReader) array() (Array, error) {
	if r.depth++; r.depth > maxDimensions {
		return nil, Errorf("54000", "number of array dimensions (%d) exceeds the maximum allowed (%d)", r.depth, maxDimensions)
	}
	defer func() { r.depth-- }()
	r.skip(1)
	a := Array{}
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
		s, n, ok := ReadQuoted(r.rest)
		if !ok {
			return nil, r.fail("Unexpected end of input.")
		}
		r.skip(n)
		return r.item.Parse(s)
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
	return r.item.Parse(word)
}

// ReadQuoted reads a string in double quotes, in which a backslash makes the next
// byte literal, and returns its length in s.
func ReadQuoted(s string) (value string, length int, ok bool) {
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
func appendArray(b []byte, item Type, a Array) []byte {
	b = append(b, '{')
	for i, v := range a {
		if i > 0 {
			b = append(b, ',')
		}
		if nested, ok := v.(Array); ok {
			b = appendArray(b, item, nested)
			continue
		}
		if v == nil {
			b = append(b, "NULL"...)
			continue
		}
		s := item.Text(v)
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

func appendJSONArray(b []byte, item Type, a Array) []byte {
	b = append(b, '[')
	for i, v := range a {
		if i > 0 {
			b = append(b, ',')
		}
		switch v := v.(type) {
		case nil:
			b = append(b, "null"...)
		case Array:
			b = appendJSONArray(b, item, v)
		default:
			b = append(b, item.JSON(v)...)
		}
	}
	return append(b, ']')
}

// compareElements orders two arrays by their elements, NULL being the greatest
// and equal to itself, and then by their dimensions.
func compareElements(item Type, a, b Array) (int, bool) {
	if !item.Comparable() {
		return 0, false
	}
	left, right := a.Flat(nil), b.Flat(nil)
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

func compareNullsLast(t Type, a, b any) int {
	if a == nil || b == nil {
		return CompareBools(a == nil, b == nil)
	}
	n, _ := t.Compare(a, b)
	return n
}

// Flat appends the elements of all dimensions.
func (a Array) Flat(all []any) []any {
	for _, v := range a {
		if nested, ok := v.(Array); ok {
			all = nested.Flat(all)
		} else {
			all = append(all, v)
		}
	}
	return all
}

// arrayFromJSON makes an array of a JSON array. The first elements say how
// many dimensions it has.
func (t Type) arrayFromJSON(raw json.RawMessage) (any, error) {
	depth := 0
	for first := bytes.TrimSpace(raw); len(first) > 0 && first[0] == '['; {
		var elements []json.RawMessage
		if err := json.Unmarshal(first, &elements); err != nil {
			return nil, badJSON(err.Error())
		}
		if depth++; depth > maxDimensions {
			return nil, Errorf("54000", "number of array dimensions (%d) exceeds the maximum allowed (%d)", depth, maxDimensions)
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

func (t Type) dimensionFromJSON(raw json.RawMessage, depth int) (Array, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		e := Errorf(CodeBadText, "malformed JSON array")
		e.Detail = unequalDimensions
		return nil, e
	}
	a := make(Array, len(elements))
	for i, e := range elements {
		var err error
		if depth > 1 {
			a[i], err = t.dimensionFromJSON(e, depth-1)
		} else {
			a[i], err = t.Item.FromJSON(e)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

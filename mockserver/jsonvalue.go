package mockserver

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The datum of a json is its text as given, of a jsonb its normalised text.

var jsonOps = typeOps{
	parse: func(_ pgType, s string) (any, error) {
		return s, checkJSON(s)
	},
	text: sameText,
	json: func(_ pgType, v any) []byte { return []byte(v.(string)) },
}

var jsonbOps = typeOps{
	parse: func(_ pgType, s string) (any, error) {
		v, err := parseJSON(s)
		return string(appendJSONB(nil, v)), err
	},
	text: sameText,
	compare: func(_ pgType, a, b any) (int, bool) {
		// A datum is JSON, so these cannot fail.
		left, _ := parseJSON(a.(string))
		right, _ := parseJSON(b.(string))
		return cmp.Or(compareEmpty(left, right), compareJSON(left, right)), true
	},
	json: func(_ pgType, v any) []byte { return []byte(v.(string)) },
}

func checkJSON(s string) error {
	var v json.RawMessage
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		return badJSON(err.Error())
	}
	return checkSurrogates(s)
}

var unicodeEscape = regexp.MustCompile(`\\(?:u([0-9A-Fa-f]{4})|.)`)

// checkSurrogates refuses half a surrogate pair, of which encoding/json would
// make U+FFFD without a word.
func checkSurrogates(s string) error {
	if !strings.Contains(s, `\u`) {
		return nil
	}
	open := -1 // where the low half must begin of a pair whose high half was read
	for _, m := range unicodeEscape.FindAllStringSubmatchIndex(s, -1) {
		unit := uint64(0)
		if m[2] >= 0 {
			unit, _ = strconv.ParseUint(s[m[2]:m[3]], 16, 16)
		}
		low := unit >= 0xdc00 && unit <= 0xdfff
		if low != (open >= 0) || low && open != m[0] {
			return badJSON("Unicode low surrogate must follow a high surrogate.")
		}
		if open = -1; unit >= 0xd800 && unit < 0xdc00 {
			open = m[1]
		}
	}
	if open >= 0 {
		return badJSON("Unicode low surrogate must follow a high surrogate.")
	}
	return nil
}

// jsonMember is a member of an object in jsonObject.
type jsonMember struct {
	key   string
	value any
}

// jsonObject is a JSON object without duplicate keys, in the order in which
// jsonb has them: shorter keys first, then by their bytes.
type jsonObject []jsonMember

// parseJSON reads JSON as jsonb does: it returns nil, a bool, a string, a
// decimal, a []any or a jsonObject.
func parseJSON(s string) (any, error) {
	if err := checkJSON(s); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	return decodeJSON(dec)
}

// decodeJSON reads the next value of what checkJSON has found good.
func decodeJSON(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return decodeJSONArray(dec)
		}
		return decodeJSONObject(dec)
	case json.Number:
		d, err := parseDecimal(token.String())
		if err != nil {
			return nil, err
		}
		return d, nil
	case string:
		return token, checkJSONString(token)
	}
	return token, nil
}

// checkJSONString refuses what jsonb cannot hold and json can.
func checkJSONString(s string) error {
	if strings.IndexByte(s, 0) < 0 {
		return nil
	}
	e := errf("22P05", "unsupported Unicode escape sequence")
	e.Detail = `\u0000 cannot be converted to text.`
	return e
}

func decodeJSONArray(dec *json.Decoder) (any, error) {
	values := []any{}
	for dec.More() {
		v, err := decodeJSON(dec)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	_, err := dec.Token()
	return values, err
}

func decodeJSONObject(dec *json.Decoder) (any, error) {
	members := map[string]any{}
	for dec.More() {
		key, err := decodeJSON(dec)
		if err != nil {
			return nil, err
		}
		if members[key.(string)], err = decodeJSON(dec); err != nil {
			return nil, err
		}
	}
	o := make(jsonObject, 0, len(members))
	for key, value := range members {
		o = append(o, jsonMember{key, value})
	}
	o.sort()
	_, err := dec.Token()
	return o, err
}

func (o jsonObject) sort() {
	slices.SortFunc(o, func(a, b jsonMember) int {
		return cmp.Or(cmp.Compare(len(a.key), len(b.key)), strings.Compare(a.key, b.key))
	})
}

// appendJSONB writes a value as jsonb_out does.
func appendJSONB(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return appendJSONString(b, v)
	case decimal:
		return append(b, v.String()...)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendJSONB(b, e)
		}
		return append(b, ']')
	case jsonObject:
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(appendJSONString(b, m.key), ": "...)
			b = appendJSONB(b, m.value)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

// compareEmpty puts an empty array before a scalar, though other arrays come
// behind them. PostgreSQL keeps a scalar that is a whole jsonb as an array of
// one, and looks at the number of elements before it looks at that.
func compareEmpty(a, b any) int {
	isEmpty := func(v any) bool { list, ok := v.([]any); return ok && len(list) == 0 }
	isScalar := func(v any) bool { return jsonRank(v) < jsonRank([]any{}) }
	switch {
	case isEmpty(a) && isScalar(b):
		return -1
	case isScalar(a) && isEmpty(b):
		return 1
	}
	return 0
}

// compareJSON orders as jsonb's btree operators do: by kind, containers by
// their size before their content.
func compareJSON(a, b any) int {
	if n := cmp.Compare(jsonRank(a), jsonRank(b)); n != 0 {
		return n
	}
	switch a := a.(type) {
	case bool:
		return compareBools(a, b.(bool))
	case string:
		return strings.Compare(a, b.(string))
	case decimal:
		return a.compare(b.(decimal))
	case []any:
		other := b.([]any)
		n := cmp.Compare(len(a), len(other))
		for i := 0; n == 0 && i < len(a); i++ {
			n = compareJSON(a[i], other[i])
		}
		return n
	case jsonObject:
		other := b.(jsonObject)
		n := cmp.Compare(len(a), len(other))
		for i := 0; n == 0 && i < len(a); i++ {
			n = cmp.Or(strings.Compare(a[i].key, other[i].key), compareJSON(a[i].value, other[i].value))
		}
		return n
	}
	return 0
}

func jsonRank(v any) int {
	switch v.(type) {
	case string:
		return 1
	case decimal:
		return 2
	case bool:
		return 3
	case []any:
		return 4
	case jsonObject:
		return 5
	}
	return 0
}

// appendJSONString writes a string as PostgreSQL does, which escapes no more
// than it must.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	plain := 0 // from here on nothing is escaped
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[plain:i]...)
		plain = i + 1
		short := strings.IndexByte("\b\f\n\r\t", c)
		switch {
		case c >= ' ':
			b = append(b, '\\', c)
		case short >= 0:
			b = append(b, '\\', "bfnrt"[short])
		default:
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
	}
	return append(append(b, s[plain:]...), '"')
}

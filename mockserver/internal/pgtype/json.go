package pgtype

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
	parse: func(_ Type, s string) (any, error) {
		return s, checkJSON(s)
	},
	text: sameText,
	json: func(_ Type, v any) []byte { return []byte(v.(string)) },
}

var jsonbOps = typeOps{
	parse: func(_ Type, s string) (any, error) {
		v, err := ParseJSON(s)
		return string(AppendJSONB(nil, v)), err
	},
	text: sameText,
	compare: func(_ Type, a, b any) (int, bool) {
		// A datum is JSON, so these cannot fail.
		left, _ := ParseJSON(a.(string))
		right, _ := ParseJSON(b.(string))
		return cmp.Or(compareEmpty(left, right), compareJSON(left, right)), true
	},
	json: func(_ Type, v any) []byte { return []byte(v.(string)) },
}

// maxJSONDepth is how deep JSON may be nested: about as deep as PostgreSQL's stack
// lets it by default.
const maxJSONDepth = 6000

// maxExpanded is how many bytes longer than its source the text of one jsonb may
// be. PostgreSQL has no such limit. Without it, a number of ten bytes such as
// 1e131071 would cost this server its 131,072 digits wherever the value goes.
const maxExpanded = 1 << 20

// checkDepth refuses JSON that is nested too deeply, before anything recurses.
func checkDepth(s string) error {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxJSONDepth {
				e := Errorf("54001", "stack depth limit exceeded")
				e.Hint = "Increase the configuration parameter \"max_stack_depth\" (currently 2048kB), after ensuring the platform's stack depth limit is adequate."
				return e
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

func checkJSON(s string) error {
	if err := checkDepth(s); err != nil {
		return err
	}
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

// Member is a member of an object in Object.
type Member struct {
	Key   string
	Value any
}

// Object is a JSON object without duplicate keys, in the order in which
// jsonb has them: shorter keys first, then by their bytes.
type Object []Member

// ParseJSON reads JSON as jsonb does: it returns nil, a bool, a string, a
// decimal, a []any or a Object.
func ParseJSON(s string) (any, error) {
	if err := checkJSON(s); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(strings.NewReader(s))
	dec.UseNumber()
	return (&jsonReader{Decoder: dec, spare: maxExpanded}).value()
}

// jsonReader reads what checkJSON has found good.
type jsonReader struct {
	*json.Decoder
	spare int // how many more bytes numbers may be longer than they were written
}

// number reads a number.
func (dec *jsonReader) number(text string) (any, error) {
	d, err := parseDecimal(text)
	if err != nil {
		return nil, err
	}
	if dec.spare -= max(d.length()-len(text), 0); dec.spare < 0 {
		return nil, Errorf("54000", "the numbers of a jsonb value are more than %d bytes longer in full", maxExpanded)
	}
	return d, nil
}

// value reads the next value.
func (dec *jsonReader) value() (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return dec.array()
		}
		return dec.object()
	case json.Number:
		return dec.number(token.String())
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
	e := Errorf("22P05", "unsupported Unicode escape sequence")
	e.Detail = `\u0000 cannot be converted to text.`
	return e
}

func (dec *jsonReader) array() (any, error) {
	values := []any{}
	for dec.More() {
		v, err := dec.value()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	_, err := dec.Token()
	return values, err
}

func (dec *jsonReader) object() (any, error) {
	members := map[string]any{}
	for dec.More() {
		key, err := dec.value()
		if err != nil {
			return nil, err
		}
		if members[key.(string)], err = dec.value(); err != nil {
			return nil, err
		}
	}
	o := make(Object, 0, len(members))
	for key, value := range members {
		o = append(o, Member{key, value})
	}
	o.Sort()
	_, err := dec.Token()
	return o, err
}

func (o Object) Sort() {
	slices.SortFunc(o, func(a, b Member) int {
		return cmp.Or(cmp.Compare(len(a.Key), len(b.Key)), strings.Compare(a.Key, b.Key))
	})
}

// AppendJSONB writes a value as jsonb_out does.
func AppendJSONB(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return AppendString(b, v)
	case Decimal:
		return append(b, v.String()...)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = AppendJSONB(b, e)
		}
		return append(b, ']')
	case Object:
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(AppendString(b, m.Key), ": "...)
			b = AppendJSONB(b, m.Value)
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
		return CompareBools(a, b.(bool))
	case string:
		return strings.Compare(a, b.(string))
	case Decimal:
		return a.compare(b.(Decimal))
	case []any:
		other := b.([]any)
		n := cmp.Compare(len(a), len(other))
		for i := 0; n == 0 && i < len(a); i++ {
			n = compareJSON(a[i], other[i])
		}
		return n
	case Object:
		other := b.(Object)
		n := cmp.Compare(len(a), len(other))
		for i := 0; n == 0 && i < len(a); i++ {
			n = cmp.Or(strings.Compare(a[i].Key, other[i].Key), compareJSON(a[i].Value, other[i].Value))
		}
		return n
	}
	return 0
}

func jsonRank(v any) int {
	switch v.(type) {
	case string:
		return 1
	case Decimal:
		return 2
	case bool:
		return 3
	case []any:
		return 4
	case Object:
		return 5
	}
	return 0
}

// AppendString writes a string as PostgreSQL does, which escapes no more
// than it must.
func AppendString(b []byte, s string) []byte {
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

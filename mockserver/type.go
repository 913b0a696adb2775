package mockserver

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pgType is the type of a column: how its values are read, written and
// compared. A value of it is a datum, in the Go type that its ops choose; a
// datum is never changed once made.
type pgType struct {
	typname string // pg_type.typname
	sqlName string // as format_type and PostgreSQL's errors spell it
	mod     int    // n of varchar(n), char(n), bit(n), the precision of numeric(p,s) and of seconds; -1: none
	scale   int    // s of numeric(p,s)
	ops     *typeOps

	domainOf *pgType       // the base, when this is a domain; ops are those of the base
	item     *pgType       // the element, when this is an array
	labels   []string      // of an enum, in order
	fields   []tableColumn // of a composite
}

// typeOps is what a family of types does with its datums.
type typeOps struct {
	parse   func(t pgType, s string) (any, error)
	text    func(t pgType, v any) string
	compare func(t pgType, a, b any) (int, bool) // nil: the type has no such operator
	json    func(t pgType, v any) []byte         // nil: the text as a JSON string
}

// name returns pg_type.typname: "int8", "_text" for an array, the name of an
// enum or a domain.
func (t pgType) name() string { return t.typname }

// elem returns the element type of an array.
func (t pgType) elem() (pgType, bool) {
	if t.item == nil {
		return pgType{}, false
	}
	return *t.item, true
}

// base returns the type under a domain, and t itself where t is none.
func (t pgType) base() pgType {
	for t.domainOf != nil {
		t = *t.domainOf
	}
	return t
}

// parse reads PostgreSQL's input text. Its error is an *Error.
func (t pgType) parse(text string) (any, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	return t.ops.parse(t, text)
}

// text writes PostgreSQL's output text, which parse reads back as the same
// datum.
func (t pgType) text(v any) string { return t.ops.text(t, v) }

// compare orders two datums that are not NULL, as the type's btree operators
// do; false: it has none.
func (t pgType) compare(a, b any) (int, bool) {
	if t.ops.compare == nil {
		return 0, false
	}
	return t.ops.compare(t, a, b)
}

// comparable reports whether the type has the operators that compare needs.
func (t pgType) comparable() bool {
	if t.item != nil {
		return t.item.comparable()
	}
	for _, f := range t.fields {
		if !f.typ.comparable() {
			return false
		}
	}
	return t.ops.compare != nil
}

// json writes to_json of the datum, which is how PostgREST sends it.
func (t pgType) json(v any) []byte {
	if t.ops.json == nil {
		return appendJSONString(nil, t.text(v))
	}
	return t.ops.json(t, v)
}

// isJSON reports whether the type is json or jsonb.
func (t pgType) isJSON() bool { return t.ops == &jsonOps || t.ops == &jsonbOps }

type builtinType struct {
	sqlName string
	ops     *typeOps
}

// builtin has the types that are more than text to this server. A type that
// is not here, nor an enum, domain or composite, is kept and compared as text.
var builtin = map[string]builtinType{
	"bool":          {"boolean", &boolOps},
	"int2":          {"smallint", &intOps},
	"int4":          {"integer", &intOps},
	"int8":          {"bigint", &intOps},
	"oid":           {"oid", &oidOps},
	"numeric":       {"numeric", &numericOps},
	"float4":        {"real", &floatOps},
	"float8":        {"double precision", &floatOps},
	"text":          {"text", &textOps},
	"varchar":       {"character varying", &varcharOps},
	"bpchar":        {"character", &bpcharOps},
	"name":          {"name", &nameOps},
	"char":          {`"char"`, &charOps},
	"uuid":          {"uuid", &uuidOps},
	"bytea":         {"bytea", &byteaOps},
	"bit":           {"bit", &bitOps},
	"varbit":        {"bit varying", &varbitOps},
	"json":          {"json", &jsonOps},
	"jsonb":         {"jsonb", &jsonbOps},
	"timestamp":     {"timestamp without time zone", &timestampOps},
	"timestamptz":   {"timestamp with time zone", &timestamptzOps},
	"date":          {"date", &dateOps},
	"time":          {"time without time zone", &timeOps},
	"timetz":        {"time with time zone", &timetzOps},
	"interval":      {"interval", &textLikeOps},
	"citext":        {"citext", &citextOps},
	"xml":           {"xml", &unorderedOps},
	"point":         {"point", &unorderedOps},
	"polygon":       {"polygon", &unorderedOps},
	"jsonpath":      {"jsonpath", &unorderedOps},
	"refcursor":     {"refcursor", &unorderedOps},
	"txid_snapshot": {"txid_snapshot", &unorderedOps},
	"pg_snapshot":   {"pg_snapshot", &unorderedOps},
}

// typeAlias maps SQL's spellings to pg_type.typname.
var typeAlias = map[string]string{
	"boolean":                     "bool",
	"smallint":                    "int2",
	"smallserial":                 "int2",
	"serial2":                     "int2",
	"int":                         "int4",
	"integer":                     "int4",
	"serial":                      "int4",
	"serial4":                     "int4",
	"bigint":                      "int8",
	"bigserial":                   "int8",
	"serial8":                     "int8",
	"decimal":                     "numeric",
	"real":                        "float4",
	"float":                       "float8",
	"double precision":            "float8",
	"character varying":           "varchar",
	"char":                        "bpchar",
	"character":                   "bpchar",
	"bit varying":                 "varbit",
	"timestamp without time zone": "timestamp",
	"timestamp with time zone":    "timestamptz",
	"time without time zone":      "time",
	"time with time zone":         "timetz",
}

// serialTypes are the spellings that bring a sequence as the default.
var serialTypes = []string{"smallserial", "serial2", "serial", "serial4", "bigserial", "serial8"}

func isSerial(spelled string) bool {
	return slices.Contains(serialTypes, strings.ToLower(strings.TrimSpace(spelled)))
}

// parseType reads Column.Type and what else the column says of its type.
func parseType(c Column) (pgType, error) {
	spelled, isArray := cutArray(strings.TrimSpace(c.Type))
	var t pgType
	var err error
	switch {
	case spelled == "":
		return pgType{}, fmt.Errorf("type %q has no name", c.Type)
	case len(c.Enum) > 0 || c.Domain != "" || len(c.Composite) > 0:
		t, err = userType(spelled, c)
	default:
		t, err = builtinOrText(spelled)
	}
	if err != nil {
		return pgType{}, err
	}
	if isArray && t.base().typname == "box" {
		return pgType{}, errors.New("an array of box is not kept in memory: the mock server on PostgreSQL has it")
	}
	if isArray {
		return arrayOf(t), nil
	}
	return t, nil
}

// cutArray removes the marks of an array: PostgreSQL's leading underscore, or
// one or more pairs of brackets, whose number and bounds it ignores.
func cutArray(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, "_"); ok {
		return rest, true
	}
	cut := arrayMarks.ReplaceAllString(s, "")
	return cut, cut != s
}

var (
	arrayMarks   = regexp.MustCompile(`(\s*\[\d*\])+$`)
	typeSpelling = regexp.MustCompile(`^([^()"]+)(?:\(([^()]*)\)([^()"]*))?$`)
)

// userType makes the enum, domain or composite that the column describes.
func userType(spelled string, c Column) (pgType, error) {
	name := typeName(spelled)
	t := pgType{typname: name, sqlName: name, mod: -1}
	if _, known := builtin[name]; known {
		return t, fmt.Errorf("type %s is built in: it is no enum, domain or composite", name)
	}
	switch {
	case len(c.Enum) > 0 && c.Domain == "" && len(c.Composite) == 0:
		t.ops, t.labels = &enumOps, c.Enum
		return t, checkLabels(name, c.Enum)
	case c.Domain != "" && len(c.Enum) == 0 && len(c.Composite) == 0:
		base, err := parseType(Column{Type: c.Domain})
		if err != nil {
			return t, fmt.Errorf("domain %s: %w", name, err)
		}
		t = base
		t.typname, t.sqlName, t.domainOf = name, name, &base
		return t, nil
	case len(c.Composite) > 0 && len(c.Enum) == 0 && c.Domain == "":
		fields, err := newColumns(c.Composite)
		if err != nil {
			return t, fmt.Errorf("composite %s: %w", name, err)
		}
		t.ops, t.fields = &compositeOps, fields
		return t, nil
	}
	return t, fmt.Errorf("type %s: only one of Enum, Domain and Composite may be set", name)
}

func checkLabels(name string, labels []string) error {
	seen := map[string]bool{}
	for _, l := range labels {
		if seen[l] {
			return fmt.Errorf("enum %s: label %q is there twice", name, l)
		}
		seen[l] = true
	}
	return nil
}

// typeName returns the name without its schema and quotes.
func typeName(spelled string) string {
	if quoted, ok := strings.CutSuffix(spelled, `"`); ok {
		return quoted[strings.LastIndexByte(quoted, '"')+1:]
	}
	return strings.ToLower(spelled[strings.LastIndexByte(spelled, '.')+1:])
}

func builtinOrText(spelled string) (pgType, error) {
	if strings.HasSuffix(spelled, `"`) {
		return namedType(typeName(spelled), "")
	}
	m := typeSpelling.FindStringSubmatch(spelled)
	if m == nil {
		return pgType{}, fmt.Errorf("type %q cannot be read", spelled)
	}
	words := strings.ToLower(strings.Join(strings.Fields(m[1]+" "+m[3]), " "))
	if strings.HasPrefix(words, "interval ") { // interval day to second
		words = "interval"
	}
	name, ok := typeAlias[words]
	if !ok {
		name = typeName(words)
	}
	mod := m[2]
	if mod == "" && name == "bpchar" && words != "bpchar" || mod == "" && name == "bit" {
		mod = "1" // char is char(1), and bit is bit(1)
	}
	return namedType(name, mod)
}

// unsupported are types whose values this server would send as other JSON than a
// real one: they are not text there, or the poll fails of some.
var unsupported = []string{"hstore", "int2vector", "oidvector", "regproc", "regoper", "geometry", "geography"}

// namedType makes the type of that typname with its modifier.
func namedType(name, mod string) (pgType, error) {
	if slices.Contains(unsupported, name) {
		return pgType{}, fmt.Errorf("type %s is not kept in memory: the mock server on PostgreSQL has it", name)
	}
	t := pgType{typname: name, sqlName: name, mod: -1, ops: &textLikeOps}
	if b, ok := builtin[name]; ok {
		t.sqlName, t.ops = b.sqlName, b.ops
	}
	if mod == "" {
		return t, nil
	}
	return t, t.setModifier(mod)
}

// setModifier reads what stood in parentheses behind the type's name.
func (t *pgType) setModifier(mod string) error {
	first, second, two := strings.Cut(mod, ",")
	n, err := strconv.Atoi(strings.TrimSpace(first))
	bad := fmt.Errorf("type %s: bad modifier (%s)", t.typname, mod)
	if err != nil || two && t.ops != &numericOps {
		return bad
	}
	low, high := 1, 10485760
	switch t.ops {
	case &varcharOps, &bpcharOps:
		t.sqlName += "(" + strconv.Itoa(n) + ")"
	case &bitOps, &varbitOps:
		t.sqlName += "(" + strconv.Itoa(n) + ")"
	case &numericOps:
		high = 1000
		if two {
			if t.scale, err = strconv.Atoi(strings.TrimSpace(second)); err != nil || t.scale < -1000 || t.scale > 1000 {
				return bad
			}
		}
	case &timestampOps, &timestamptzOps, &timeOps, &timetzOps:
		low, high = 0, 6
	case &textLikeOps: // vector(3), geometry(…): nothing that text would heed
		return nil
	default:
		return bad
	}
	if n < low || n > high {
		return bad
	}
	t.mod = n
	return nil
}

package pgtype

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Type is the type of a column: how its values are read, written and
// compared. A value of it is a datum, in the Go type that its ops choose; a
// datum is never changed once made.
type Type struct {
	typname string // pg_type.typname
	SQLName string // as format_type and PostgreSQL's errors spell it
	mod     int    // n of varchar(n), char(n), bit(n), the precision of numeric(p,s) and of seconds; -1: none
	scale   int    // s of numeric(p,s)
	ops     *typeOps

	DomainOf *Type    // the base, when this is a domain; ops are those of the base
	Item     *Type    // the element, when this is an array
	Labels   []string // of an enum, in order
	Fields   []Field  // of a composite
}

// Field is a column, or a field of a composite.
type Field struct {
	Name string
	Type Type
}

// NewFields checks the columns of a table or the fields of a composite.
func NewFields(specs []Column) ([]Field, error) {
	if len(specs) == 0 {
		return nil, errors.New("it has no columns")
	}
	fields := make([]Field, 0, len(specs))
	for i, c := range specs {
		if c.Name == "" {
			return nil, fmt.Errorf("column %d has no name", i+1)
		}
		if slices.ContainsFunc(fields, func(other Field) bool { return other.Name == c.Name }) {
			return nil, fmt.Errorf("column %s: it is there twice", c.Name)
		}
		typ, err := ParseType(c)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		fields = append(fields, Field{c.Name, typ})
	}
	return fields, nil
}

// typeOps is what a family of types does with its datums.
type typeOps struct {
	parse   func(t Type, s string) (any, error)
	text    func(t Type, v any) string
	compare func(t Type, a, b any) (int, bool) // nil: the type has no such operator
	json    func(t Type, v any) []byte         // nil: the text as a JSON string
}

// Name returns pg_type.typname: "int8", "_text" for an array, the name of an
// enum or a domain.
func (t Type) Name() string { return t.typname }

// Elem returns the element type of an array.
func (t Type) Elem() (Type, bool) {
	if t.Item == nil {
		return Type{}, false
	}
	return *t.Item, true
}

// Base returns the type under a domain, and t itself where t is none.
func (t Type) Base() Type {
	for t.DomainOf != nil {
		t = *t.DomainOf
	}
	return t
}

// Parse reads PostgreSQL's input text. Its error is an *Error.
func (t Type) Parse(text string) (any, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	return t.ops.parse(t, text)
}

// Text writes PostgreSQL's output text, which parse reads back as the same
// datum.
func (t Type) Text(v any) string { return t.ops.text(t, v) }

// Compare orders two datums that are not NULL, as the type's btree operators
// do; false: it has none.
func (t Type) Compare(a, b any) (int, bool) {
	if t.ops.compare == nil {
		return 0, false
	}
	return t.ops.compare(t, a, b)
}

// Comparable reports whether the type has the operators that compare needs.
func (t Type) Comparable() bool {
	if t.Item != nil {
		return t.Item.Comparable()
	}
	for _, f := range t.Fields {
		if !f.Type.Comparable() {
			return false
		}
	}
	return t.ops.compare != nil
}

// JSON writes to_json of the datum, which is how PostgREST sends it.
func (t Type) JSON(v any) []byte {
	if t.ops.json == nil {
		return AppendString(nil, t.Text(v))
	}
	return t.ops.json(t, v)
}

// isJSON reports whether the type is json or jsonb.
func (t Type) isJSON() bool { return t.ops == &jsonOps || t.ops == &jsonbOps }

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

func IsSerial(spelled string) bool {
	return slices.Contains(serialTypes, strings.ToLower(strings.TrimSpace(spelled)))
}

// ParseType reads Column.Type and what else the column says of its type.
func ParseType(c Column) (Type, error) {
	spelled, isArray := cutArray(strings.TrimSpace(c.Type))
	var t Type
	var err error
	switch {
	case spelled == "":
		return Type{}, fmt.Errorf("type %q has no name", c.Type)
	case len(c.Enum) > 0 || c.Domain != "" || len(c.Composite) > 0:
		t, err = userType(spelled, c)
	default:
		t, err = builtinOrText(spelled)
	}
	if err != nil {
		return Type{}, err
	}
	if isArray && t.Base().typname == "box" {
		return Type{}, errors.New("an array of box is not kept in memory: the mock server on PostgreSQL has it")
	}
	if isArray {
		return ArrayOf(t), nil
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
func userType(spelled string, c Column) (Type, error) {
	name := typeName(spelled)
	t := Type{typname: name, SQLName: name, mod: -1}
	if _, known := builtin[name]; known {
		return t, fmt.Errorf("type %s is built in: it is no enum, domain or composite", name)
	}
	switch {
	case len(c.Enum) > 0 && c.Domain == "" && len(c.Composite) == 0:
		t.ops, t.Labels = &enumOps, c.Enum
		return t, checkLabels(name, c.Enum)
	case c.Domain != "" && len(c.Enum) == 0 && len(c.Composite) == 0:
		base, err := ParseType(Column{Type: c.Domain})
		if err != nil {
			return t, fmt.Errorf("domain %s: %w", name, err)
		}
		t = base
		t.typname, t.SQLName, t.DomainOf = name, name, &base
		return t, nil
	case len(c.Composite) > 0 && len(c.Enum) == 0 && c.Domain == "":
		fields, err := NewFields(c.Composite)
		if err != nil {
			return t, fmt.Errorf("composite %s: %w", name, err)
		}
		t.ops, t.Fields = &compositeOps, fields
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

func builtinOrText(spelled string) (Type, error) {
	if strings.HasSuffix(spelled, `"`) {
		return namedType(typeName(spelled), "")
	}
	m := typeSpelling.FindStringSubmatch(spelled)
	if m == nil {
		return Type{}, fmt.Errorf("type %q cannot be read", spelled)
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
func namedType(name, mod string) (Type, error) {
	if slices.Contains(unsupported, name) {
		return Type{}, fmt.Errorf("type %s is not kept in memory: the mock server on PostgreSQL has it", name)
	}
	t := Type{typname: name, SQLName: name, mod: -1, ops: &textLikeOps}
	if b, ok := builtin[name]; ok {
		t.SQLName, t.ops = b.sqlName, b.ops
	}
	if mod == "" {
		return t, nil
	}
	return t, t.setModifier(mod)
}

// setModifier reads what stood in parentheses behind the type's name.
func (t *Type) setModifier(mod string) error {
	first, second, two := strings.Cut(mod, ",")
	n, err := strconv.Atoi(strings.TrimSpace(first))
	bad := fmt.Errorf("type %s: bad modifier (%s)", t.typname, mod)
	if err != nil || two && t.ops != &numericOps {
		return bad
	}
	low, high := 1, 10485760
	switch t.ops {
	case &varcharOps, &bpcharOps:
		t.SQLName += "(" + strconv.Itoa(n) + ")"
	case &bitOps, &varbitOps:
		t.SQLName += "(" + strconv.Itoa(n) + ")"
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

// Column is a column of a table or a field of a composite type.
type Column struct {
	Name string
	// Type is a pg_type.typname ("int8", "_text") or SQL's spelling with a
	// modifier ("bigint", "numeric(12,2)", "char(5)", "text[]",
	// "timestamp with time zone", "bigserial"), or the name of the type that
	// Enum, Domain or Composite describes, with "[]" behind it for an array of
	// that. A type that the server does not know is kept and compared as text.
	Type    string
	NotNull bool
	// Default makes the value of an INSERT that gives none; nil: NULL, or the
	// next number for a serial type. It is called without any lock held and
	// from several goroutines at once.
	Default func() any
	// Toast stores text of more than 2000 bytes out of line. An UPDATE that
	// does not set the column then leaves it out of the log, and Realtime out
	// of the record.
	Toast bool

	// At most one of these is set.
	Enum      []string // the labels of an enum, in order
	Domain    string   // the type under a domain
	Composite []Column // the fields of a composite type
}

// CastType reads the type behind ::.
func CastType(name string) (*Type, error) {
	if name == "" {
		return nil, nil
	}
	t, err := ParseType(Column{Type: name})
	if _, known := builtin[t.Name()]; err != nil || !known {
		return nil, Errorf("42704", "type %q does not exist", name)
	}
	return &t, nil
}

// CastTo casts a datum by way of its text.
func (t Type) CastTo(other Type, v any) (any, error) {
	text := t.Text(v)
	if b, ok := v.(bool); ok { // whose cast to text is not its output text
		text = strconv.FormatBool(b)
	}
	return other.Parse(text)
}

// FormatType returns what format_type says of the type without its modifier. The
// types that a column describes are in the schema public.
func (t Type) FormatType() string {
	if element, isArray := t.Elem(); isArray {
		return element.FormatType() + "[]"
	}
	if len(t.Labels) > 0 || len(t.Fields) > 0 || t.DomainOf != nil {
		return "public." + t.typname
	}
	if b, ok := builtin[t.typname]; ok {
		return b.sqlName
	}
	return t.SQLName
}

// MaxLength returns the length of a type that has one, such as varchar(n); 0: it
// has none.
func (t Type) MaxLength() int {
	if slices.Contains([]*typeOps{&varcharOps, &bpcharOps, &bitOps, &varbitOps}, t.ops) {
		return max(t.mod, 0)
	}
	return 0
}

// IsText reports whether the type has the operators of text, such as LIKE.
func (t Type) IsText() bool {
	return slices.Contains([]*typeOps{&textOps, &varcharOps, &bpcharOps, &nameOps, &textLikeOps}, t.ops)
}

// IsPlainJSON reports whether the type is json, whose text may be what jsonb does
// not take.
func (t Type) IsPlainJSON() bool { return t.ops == &jsonOps }

// Bare returns the type without its modifier.
func (t Type) Bare() Type {
	if b, ok := builtin[t.Name()]; ok {
		return Type{typname: t.typname, SQLName: b.sqlName, mod: -1, ops: b.ops}
	}
	return t
}

// Unbounded returns the type without its length: a value to compare with may
// be longer than any in the column.
func (t Type) Unbounded() Type {
	t.mod = -1
	return t
}

package postgres_test

// hostileValues has, for every type of PostgreSQL that a column can have, the
// values that are most likely not to arrive as they are, as SQL literals
// without their quotes. A type is spelled as in a table.
var hostileValues = map[string][]string{
	"boolean":  {"t", "f"},
	"smallint": {"0", "-32768", "32767"},
	"integer":  {"0", "-2147483648", "2147483647"},
	"bigint":   {"0", "-9223372036854775808", "9223372036854775807", "9007199254740993"},
	"numeric": {"0", "1.5000", "-0.0", "12345678901234567890.12345678901234567890", "1e30", "1e-30", "NaN", "Infinity", "-Infinity",
		"0.00000000000000000000000000000000000000000001"},
	"numeric(10,2)": {"1.5", "-12345678.99", "NaN"},
	"numeric(5,-2)": {"12345"},
	"real":          {"0", "-0", "1.5", "1e-45", "3.4028235e38", "0.1", "16777217", "NaN", "Infinity", "-Infinity"},
	"double precision": {"0", "-0", "1.5", "5e-324", "1e300", "1e15", "1e21", "0.1", "9007199254740993", "123456789.123456789",
		"NaN", "Infinity", "-Infinity"},
	"money": {"0", "-1234.56", "92233720368547758.07"},

	"text":       {"", " ", "NULL", "null", "{cat}", "(1,2)", `\xcafe`, `a"b\c/d`, "é€😀\u2028", "line\nbreak\ttab\x01\x7f", "NaN", `["a"]`, "{\"a\": 1}", "infinity", `ends in \`},
	"varchar":    {"abc", " padded ", "é€😀"},
	"varchar(5)": {"abc", "é€😀", "  "},
	"char(3)":    {"EUR", "EUX", "a", "é€😀", " x", ""},
	"char(1)":    {"a", " ", "€"},
	"bpchar":     {"EUR", "EUX", "a ", ""},
	`"char"`:     {"a", "", " ", `\200`, `\`},
	"name":       {"abc", "", "a b", `"Quoted"`},
	"bit(4)":     {"1011", "1100", "0000"},
	"bit(1)":     {"1", "0"},
	"varbit":     {"101", "", "0"},
	"varbit(8)":  {"00000001", "1"},
	"bytea":      {`\x`, `\x00`, `\x00ff10`, `\xcafe`, `\x5c`, `\x616263`},
	"uuid":       {"00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"},
	"xml":        {"<a/>", "text", `<a b="c">é</a>`, `<?xml version="1.0" encoding="UTF-8"?><a/>`, "<!DOCTYPE a><a/>", ""},
	"json": {"1", "null", `"text"`, `{"b": 1, "a": 2}`, `{"a": 1, "a": 2}`, " [1, 2] ", "1.50", "1e3", "1e400", "-0", "-0.0", `"\u00e9"`, `""`, "true",
		`[]`, `{}`, `"\u0000"`, `"\ud800"`, "1e200000", `[null]`},
	"jsonb":    {"1", "null", `"text"`, `{"b": 1, "a": 2}`, `{"a": 1, "a": 2}`, "[1, 2]", "1.50", "1e3", "1e40", "-0", `"\u00e9"`, `""`, "true", `"1"`, `[]`, `{}`, `[null]`},
	"jsonpath": {"$", `$."a b"[*] ? (@ > 1)`},

	"date":                      {"2024-01-02", "0044-03-15 BC", "infinity", "-infinity", "10000-01-01", "5874897-12-31"},
	"time":                      {"00:00:00", "24:00:00", "03:04:05.123456"},
	"time(0)":                   {"03:04:05.6"},
	"timetz":                    {"03:04:05.1+02", "24:00:00-15:59:59"},
	"timestamp":                 {"2024-01-02 03:04:05.123456", "2024-01-02 03:04:05.120000", "0044-03-15 00:00:00 BC", "infinity", "-infinity", "12024-01-02 03:04:05", "2024-01-02 00:00:00"},
	"timestamp(0)":              {"2024-01-02 03:04:05.6"},
	"timestamptz":               {"2024-01-02 03:04:05.123456+02", "2024-01-02 03:04:05.12+00", "0044-03-15 00:00:00+00 BC", "infinity", "-infinity", "12024-01-02 03:04:05+00"},
	"timestamptz(3)":            {"2024-01-02 03:04:05.123456+05:30"},
	"interval":                  {"0", "1 day 02:03:04.5", "-1 mon -1 day", "1 year 2 mons", "178000000 years"},
	"interval year to month":    {"1 year 2 mons"},
	"interval day to second(3)": {"1 day 02:03:04.5678"},

	"point":   {"(1,2)", "(-0,1e300)", "(NaN,Infinity)"},
	"lseg":    {"[(1,2),(3,4)]"},
	"line":    {"{1,2,3}"},
	"box":     {"(3,4),(1,2)"},
	"path":    {"[(1,2),(3,4)]", "((1,2),(3,4))"},
	"polygon": {"((1,2),(3,4))"},
	"circle":  {"<(1,2),3>"},

	"inet":     {"192.0.2.1", "192.0.2.1/24", "2001:db8::1"},
	"cidr":     {"192.0.2.0/24", "2001:db8::/32"},
	"macaddr":  {"08:00:2b:01:02:03"},
	"macaddr8": {"08:00:2b:01:02:03:04:05"},

	"tsvector": {"", "'a':1 'b c':2A"},
	"tsquery":  {"'a' & 'b c'", ""},

	"oid":           {"0", "42", "4294967295"},
	"tid":           {"(0,1)"},
	"xid":           {"3"},
	"xid8":          {"3"},
	"cid":           {"3"},
	"int2vector":    {"1 2", ""},
	"oidvector":     {"1 2", ""},
	"pg_lsn":        {"0/16B3748"},
	"txid_snapshot": {"10:20:10,14"},
	"pg_snapshot":   {"10:20:10,14"},
	"refcursor":     {"c"},
	"aclitem":       {"postgres=arwdDxt/postgres"},
	"regproc":       {"now", "1397"}, // one of many functions of its name
	"regprocedure":  {"abs(integer)"},
	"regoper":       {"pg_catalog.||/", "551"},
	"regoperator":   {"+(integer,integer)"},
	"regclass":      {"pg_class", "0"},
	"regtype":       {"integer", "text[]"},
	"regconfig":     {"english"},
	"regdictionary": {"simple"},
	"regnamespace":  {"public"},
	"regrole":       {"postgres"},
	"regcollation":  {`"C"`},

	"int4range":      {"[1,10)", "empty", "(,)"},
	"int8range":      {"[1,9223372036854775807)"},
	"numrange":       {"(1.50,2.5]", "[NaN,)"},
	"tsrange":        {`["2024-01-02 00:00:00",infinity]`},
	"tstzrange":      {`["2024-01-02 00:00:00+02",)`},
	"daterange":      {"[2024-01-02,2024-02-01)"},
	"int4multirange": {"{[1,3),[5,7)}", "{}"},
	"int8multirange": {"{[1,3)}"},
	"nummultirange":  {"{[1.5,3)}"},
	"tsmultirange":   {`{["2024-01-02 00:00:00","2024-01-03 00:00:00")}`},
	"tstzmultirange": {`{["2024-01-02 00:00:00+02",)}`},
	"datemultirange": {"{[2024-01-02,2024-02-01)}"},

	"mood":           {"ok", "not so", "null", "NaN"},
	"pair":           {"(1,two)", `(,"")`, `(NaN,"a""b\\c,(")`},
	"kept":           {`(EUR,1011,NaN,"\\xcafe","{""a"": null}")`},
	"textrange":      {`[a,"b c")`},
	"textmultirange": {`{[a,"b c")}`},
	"hstore":         {"", `"a"=>"1", "b"=>NULL`, `"c d"=>"e\"f"`},
	"citext":         {"Abc", ""},
}

// withoutValues are types of which no value can be written: they have no input.
var withoutValues = []string{
	"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary",
}

// userTypes are what the types are made of that PostgreSQL does not bring.
const userTypes = `
create extension hstore; create extension citext;
create type mood as enum ('ok', 'not so', 'null', 'NaN');
create type pair as (n float8, s text);
create type kept as (c char(3), b bit(4), n numeric, y bytea, j jsonb);
create type textrange as range (subtype = text);
`

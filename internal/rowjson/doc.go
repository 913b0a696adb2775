// Package rowjson reads rows: JSON objects whose members are the columns of a
// PostgreSQL table. It has the module's only JSON tokenizer, [Cursor], the rule
// that says which column a struct field is for, [ColumnTag] and [Fold], the
// decoding of rows into Go types, [Plan], and the form in which two values are
// equal, [AppendCanonical].
//
// # Cost
//
// Text comes from outside and may be anything. All functions take time linear
// in the length of their text, but for what the Go type itself does with a
// value (a float or big number of at most 150,000 digits). They allocate the
// values that they return, at most 64 bytes for each byte of text (an array of
// one-digit numbers into a []string or []any), and nothing that outlives
// them. A value may be nested 9,990 deep, as encoding/json's limit has it; the
// stack grows by 2 bytes for each level. Of a key that comes twice, both values
// are decoded and the last one stays.
package rowjson

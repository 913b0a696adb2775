package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// The names that the index has for itself in each document. No column may have
// one of them.
const (
	idField   = "sync_id"   // Document.ID
	hashField = "sync_hash" // Document.Hash
	keyField  = "sync_key"  // what an index wants in place of an ID that it does not take
)

// Document is a row of the table as the index has it.
type Document struct {
	ID     string         // the primary key as text
	Hash   string         // of Fields: documents of equal content have equal hashes
	Fields map[string]any // by column: nil, bool, json.Number, string, []any or map[string]any
}

// row is a row of the table, by column.
type row = map[string]value

// value is a value of a column as JSON, and empty for NULL. Equal values are
// written alike, whether they came by the stream or by the REST API, which put
// blanks and the keys of a jsonb in their own ways.
type value string

// UnmarshalJSON takes any JSON.
func (v *value) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && strings.IndexByte(`"[{n`, text[0]) < 0 { // a number or a boolean, of which every digit counts
		*v = value(text)
		return nil
	}
	x, err := decode(text)
	if x == nil || err != nil {
		*v = ""
		return err
	}
	text, err = json.Marshal(x) // sorts the keys
	*v = value(text)
	return err
}

// MarshalJSON undoes UnmarshalJSON.
func (v value) MarshalJSON() ([]byte, error) {
	if v == "" {
		return []byte("null"), nil
	}
	return []byte(v), nil
}

// keyIn returns the function that finds the primary key in a row, as text.
func keyIn(column string) func(row) string {
	return func(r row) string {
		v, err := decode([]byte(r[column]))
		if err != nil {
			return "" // which no row has for its key, so that the cache refuses it
		}
		return textOf(v)
	}
}

// newDocument makes a document of some columns of a row.
func newDocument(id string, r row, fields []string) (Document, error) {
	d := Document{ID: id, Fields: make(map[string]any, len(fields))}
	for _, name := range fields {
		raw, there := r[name]
		if !there {
			return Document{}, fmt.Errorf("row %s: column %q is not there", id, name)
		}
		if d.Fields[name] = nil; raw == "" {
			continue
		}
		var err error
		if d.Fields[name], err = decode([]byte(raw)); err != nil {
			return Document{}, fmt.Errorf("row %s: column %q: %w", id, name, err)
		}
	}
	d.Hash = hashOf(d.Fields)
	return d, nil
}

// decode reads a JSON value without rounding its numbers.
func decode(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// hashOf does not depend on how a value is written: the REST API and Realtime
// may write one number in two ways, and so may an index that gives it back.
func hashOf(fields map[string]any) string {
	text, err := json.Marshal(canonical(fields)) // sorts the keys
	if err != nil {
		panic(err) // there is nothing in it that was not decoded from JSON
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

func canonical(v any) any {
	switch v := v.(type) {
	case json.Number:
		return canonicalNumber(string(v))
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = canonical(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[k] = canonical(v[k])
		}
		return out
	}
	return v
}

// number is a JSON number in its canonical form. It is a type of its own so
// that it is never equal to a string.
type number struct{ Sign, Digits, Exponent string }

// canonicalNumber has neither leading nor trailing zeros, nor a point: 4.50 and
// 4.5 and 45e-1 are one number. It computes with text, since a number may be
// longer than any type has room for.
func canonicalNumber(text string) number {
	var n number
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		n.Sign, text = "-", rest
	}
	mantissa, e := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa = text[:i]
		e, _ = strconv.Atoi(text[i+1:]) // PostgreSQL writes no exponent that is out of range
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	e -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	n.Digits = strings.TrimRight(digits, "0")
	if n.Digits == "" {
		return number{Digits: "0"}
	}
	n.Exponent = strconv.Itoa(e + len(digits) - len(n.Digits))
	return n
}

// textOf is a value as text; that of NULL is empty.
func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return string(text)
}

// stored is the document as an index keeps it: the columns, and beside them the
// ID and the hash.
func (d Document) stored() map[string]any {
	fields := make(map[string]any, len(d.Fields)+2)
	maps.Copy(fields, d.Fields)
	fields[idField], fields[hashField] = d.ID, d.Hash
	return fields
}

// restored undoes stored.
func restored(raw []byte) (Document, error) {
	v, err := decode(raw)
	fields, ok := v.(map[string]any)
	if err != nil || !ok {
		return Document{}, fmt.Errorf("the index holds something that is no document: %.100q (%w)", raw, err)
	}
	id, _ := fields[idField].(string)
	hash, _ := fields[hashField].(string)
	if id == "" {
		return Document{}, fmt.Errorf("the index holds a document without %s: was it written by another program? %.100q", idField, raw)
	}
	for _, own := range []string{idField, hashField, keyField} {
		delete(fields, own)
	}
	return Document{ID: id, Hash: hash, Fields: fields}, nil
}

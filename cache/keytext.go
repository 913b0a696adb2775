package cache

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rowjson"
)

// asRead returns a change in which the values of the key have the text that the
// REST API has of them, so that one row has one key: Realtime leaves the \x of a
// bytea out, and the exponent of a float.
func (s *source[K, T]) asRead(c cdc.Change) cdc.Change {
	for _, column := range c.Columns {
		switch column.Type {
		case "bytea", "float4", "float8":
			if slices.Contains(s.api.Key, column.Name) {
				c.Record = withText(c.Record, column)
				c.OldRecord = withText(c.OldRecord, column)
			}
		}
	}
	return c
}

// withText replaces the value of a column in a row.
func withText(row json.RawMessage, column cdc.Column) json.RawMessage {
	text := rowjson.Cursor{Text: row}
	if !text.Enter('{') {
		return row
	}
	for text.More('}') {
		if key := text.Key(); string(key) != column.Name {
			text.Value()
			continue
		}
		value := text.Value()
		end := text.Pos
		if asRead := restText(value, column.Type); len(value) > 0 && !bytes.Equal(asRead, value) {
			return slices.Concat(row[:end-len(value)], asRead, row[end:])
		}
	}
	return row
}

// restText is a value as PostgreSQL's to_json writes it.
func restText(value []byte, typ string) []byte {
	switch {
	case len(value) == 0:
	case typ == "bytea" && value[0] == '"' && !bytes.HasPrefix(value, []byte(`"\\x`)):
		return slices.Concat([]byte(`"\\x`), value[1:])
	case typ != "bytea" && value[0] != '"':
		bits := map[string]int{"float4": 32, "float8": 64}[typ]
		if f, err := strconv.ParseFloat(string(value), bits); err == nil {
			return []byte(floatText(f, bits))
		}
	}
	return value
}

// floatText is a float as PostgreSQL writes it: the fewest digits that tell it
// from others, with an exponent from 1e15 (1e6 for float4) on and below 1e-4.
func floatText(f float64, bits int) string {
	digits := 15
	if bits == 32 {
		digits = 6
	}
	short := strconv.FormatFloat(f, 'e', -1, bits)
	_, exponent, _ := strings.Cut(short, "e")
	if e, err := strconv.Atoi(exponent); f != 0 && err == nil && !math.IsInf(f, 0) && (e < -4 || e >= digits) {
		return short
	}
	return strconv.FormatFloat(f, 'f', -1, bits)
}

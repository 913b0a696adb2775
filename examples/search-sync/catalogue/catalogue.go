// Package catalogue is the data of the demo: the exported functions, methods,
// types and variables of Go's standard library.
//
// The texts are the Go authors', under the licence in the file LICENSE beside
// this one.
package catalogue

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
)

//go:generate go run ./gen

//go:embed symbols.tsv.gz
var compressed []byte

// Symbol is one exported name.
type Symbol struct {
	Package   string // import path
	Name      string // of a method with its type: Builder.WriteString
	Kind      string // func, method, type or var
	Signature string // one line of Go
	Synopsis  string // the first sentence of its documentation; may be empty
}

// Symbols returns all symbols, sorted by package.
func Symbols() ([]Symbol, error) {
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	var symbols []Symbol
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 5 {
			return nil, fmt.Errorf("catalogue: line %d has %d fields", len(symbols)+1, len(f))
		}
		symbols = append(symbols, Symbol{f[0], f[1], f[2], f[3], f[4]})
	}
	return symbols, nil
}

package mockserver

import (
	_ "embed"
	"strings"
)

//go:embed demo.json
var demo string

// Demo returns a small project to try things with: tables customers and
// orders, which everybody may read, todos, of which everybody sees their own,
// and the users ann@example.com and ben@example.com, whose password is
// "password". It is what the command serves without a schema file.
func Demo() Config {
	cfg, err := LoadSchema(strings.NewReader(demo))
	if err != nil {
		panic(err) // it is part of the program
	}
	return cfg
}

// Package secrettest tests that what holds a secret does not print it.
package secrettest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/secret"
)

// Marker is the secret that values hold.
const Marker = "sEcReTmArKeR"

// Fill returns a pointer to a T with Marker in each exported field that could
// hold it and is Named, or one of the others.
func Fill[T any](others ...string) *T {
	v := new(T)
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		name := s.Type().Field(i).Name
		named := secret.Named(name)
		for _, o := range others {
			named = named || o == name
		}
		if f := s.Field(i); named && f.CanSet() {
			switch f.Type().String() {
			case "string":
				f.SetString(Marker)
			case "[]uint8":
				f.SetBytes([]byte(Marker))
			case "http.Header":
				f.Set(reflect.ValueOf(map[string][]string{"Authorization": {Marker}}).Convert(f.Type()))
			}
		}
	}
	return v
}

// Hides fails if a value shows Marker in any format, by itself or within others.
// A value whose JSON is where its secret belongs has keepsJSON.
func Hides(t *testing.T, v any, keepsJSON bool) {
	t.Helper()
	type holder struct{ Value any }
	forms := map[string]any{
		"itself": v, "in a struct": holder{v}, "in a pointer": &holder{v}, "in a map": map[string]any{"v": v}, "in a slice": []any{v},
	}
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer {
		// What is a pointer always is has no copy.
		if _, ok := p.Elem().Interface().(fmt.Formatter); ok {
			forms["by value"] = p.Elem().Interface()
		}
	}
	for where, form := range forms {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			shown := fmt.Sprintf(verb, form)
			for _, s := range []string{Marker, fmt.Sprintf("%x", Marker), fmt.Sprintf("%X", Marker)} {
				require.NotContains(t, shown, s, "%T %s, %s", v, where, verb)
			}
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", form)
		if where == "itself" || where == "by value" || !keepsJSON {
			slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", form)
		}
		require.NotContains(t, log.String(), Marker, "%T %s, slog", v, where)
		if !keepsJSON {
			text, err := json.Marshal(form)
			require.NoError(t, err)
			require.NotContains(t, string(text), Marker, "%T %s, JSON", v, where)
		}
	}
}

// Complete fails for an exported struct of a module with an exported field that
// is Named and could hold a secret, if it is not among the values. Other names
// are the structs, as package.Type, whose fields hold none.
func Complete(t *testing.T, module string, values []any, others ...string) {
	t.Helper()
	known := map[string]bool{}
	for _, name := range others {
		known[name] = true
	}
	for _, v := range values {
		known[strings.TrimPrefix(reflect.TypeOf(v).String(), "*")] = true
	}
	seen := 0
	err := filepath.WalkDir(module, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != module:
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir
			}
			switch entry.Name() {
			case "internal", "testdata", "node_modules":
				return filepath.SkipDir
			}
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			seen++
			for _, found := range exposed(t, path) {
				require.True(t, known[found], "%s: %s has a field named like a secret: give it a method Format, and add it to the test's values", path, found)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.NotZero(t, seen)
}

// exposed returns the exported structs of a file with a field that is Named.
func exposed(t *testing.T, path string) (found []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || !spec.Name.IsExported() {
			return true
		}
		s, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range s.Fields.List {
			for _, name := range field.Names {
				if name.IsExported() && secret.Named(name.Name) && holdsText(field.Type) {
					found = append(found, file.Name.Name+"."+spec.Name.Name)
				}
			}
		}
		return true
	})
	return found
}

// holdsText reports whether a type could hold a secret as it stands.
func holdsText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "string" || e.Name == "any"
	case *ast.ArrayType:
		return holdsText(e.Elt) || fmt.Sprint(e.Elt) == "byte"
	case *ast.SelectorExpr:
		return e.Sel.Name == "Header"
	}
	return false
}

package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/gapless-go/gapless"
	root   = "../.."
)

// layers are the packages of the core from the bottom up. A package imports
// only from layers below its own.
var layers = [][]string{
	{"internal/text", "internal/backoff", "internal/origin", "internal/patience", "internal/atomicfile", "internal/heap", "internal/pghash"},
	{"internal/rescue"},
	{"internal/rowjson"},
	{"internal/phoenix"},
	{"internal/redact"},
	{"internal/secret", "internal/events"},
	{"cdc"},
	{"internal/link"},
	{"channel"},
	{"realtime", "internal/postgrest", "cache/sql", "cache/internal/hamt"},
	{"realtime/signin"},
	{"cache"},
	{"enrich"},
	{"enrich/deliver"},
}

// server are the packages of the mock server. It shares the frame codec with
// the client and nothing that decides what a message means: one mistake would
// be made twice. Of package rowjson that is the tokenizer, by way of the codec.
var server = [][]string{
	{"internal/text", "internal/origin", "internal/pghash", "internal/memhttp", "internal/transcript"},
	{"internal/rescue"},
	{"internal/rowjson"},
	{"internal/phoenix"},
	{"internal/redact"},
	{"internal/secret"},
	{"mockserver/internal/pgtype", "mockserver/internal/rawjson"},
	{"mockserver/internal/fault"},
	{"mockserver/internal/project"},
	{"mockserver/internal/wire", "mockserver/internal/front", "mockserver/internal/joint"},
	{"mockserver/internal/auth"},
	{"mockserver/internal/inspect"},
	{"mockserver/internal/rest", "mockserver/internal/realtime", "mockserver/internal/memdb", "mockserver/replay"},
	{"mockserver/cachesql"},
	{"mockserver"},
	{"mockserver/on/postgres"},
	{"mockserver/internal/pgtest", "mockserver/internal/command"},
	{"mockserver/cmd/mockserver"},
}

func TestImports_RunDownward(t *testing.T) {
	for _, house := range [][][]string{layers, server} {
		rank := map[string]int{}
		for i, layer := range house {
			for _, p := range layer {
				rank[p] = i
			}
		}
		for p := range rank {
			for _, file := range sources(t, p) {
				for _, imported := range importsOf(t, file) {
					to, ours := strings.CutPrefix(imported, module+"/")
					if !ours {
						continue
					}
					at, known := rank[to]
					require.True(t, known, "%s imports %s, which is in no layer of its house", file, to)
					require.Less(t, at, rank[p], "%s imports %s, which is not below it", file, to)
				}
			}
		}
	}
}

func TestServer_DecodesNoRows(t *testing.T) {
	for _, file := range sources(t, "mockserver") {
		require.NotContains(t, importsOf(t, file), module+"/internal/rowjson", file)
	}
}

// TestLayers_HaveEveryPackage: a new package is given a place by whoever adds it.
func TestLayers_HaveEveryPackage(t *testing.T) {
	known := slices.Concat(slices.Concat(layers...), slices.Concat(server...),
		[]string{"internal/house", "internal/cputime", "internal/conformance", "internal/transcript/golden", "internal/garblings", "internal/secret/secrettest", "mockserver/internal/transcripttest"})
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		if !d.IsDir() {
			return nil
		}
		if name := d.Name(); strings.HasPrefix(name, ".") && path != root || name == "testdata" || name == "node_modules" {
			return fs.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
			return fs.SkipDir // a module of its own
		}
		p, err := filepath.Rel(root, path)
		require.NoError(t, err)
		if sources(t, p) != nil {
			require.Contains(t, known, filepath.ToSlash(p))
		}
		return nil
	})
	require.NoError(t, err)
}

// TestExportedAPI_NamesNoOtherModule: a type of another module in a signature
// would tie every user to that module's versions.
func TestExportedAPI_NamesNoOtherModule(t *testing.T) {
	for _, p := range []string{"cdc", "channel", "realtime", "realtime/signin", "cache", "enrich", "enrich/deliver", "mockserver", "mockserver/replay", "mockserver/cachesql"} {
		for _, file := range sources(t, p) {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			require.NoError(t, err)
			foreign := map[string]string{}
			for _, spec := range f.Imports {
				path, _ := strconv.Unquote(spec.Path.Value)
				first, _, _ := strings.Cut(path, "/")
				if !strings.Contains(first, ".") || strings.HasPrefix(path, module) {
					continue
				}
				name := path[strings.LastIndexByte(path, '/')+1:]
				if strings.HasPrefix(name, "v") && len(name) < 4 { // a major version
					name = filepath.Base(filepath.Dir(path))
				}
				if spec.Name != nil {
					name = spec.Name.Name
				}
				foreign[name] = path
			}
			for _, part := range exported(f) {
				ast.Inspect(part, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok {
						if x, ok := s.X.(*ast.Ident); ok {
							require.NotContains(t, foreign, x.Name, "%s: %s.%s in an exported name", file, x.Name, s.Sel.Name)
						}
					}
					return true
				})
			}
		}
	}
}

// exported returns what of a file a user's program can name.
func exported(f *ast.File) (parts []ast.Node) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type))) {
				parts = append(parts, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if !spec.Name.IsExported() {
						continue
					}
					if s, ok := spec.Type.(*ast.StructType); ok {
						for _, field := range s.Fields.List {
							if len(field.Names) == 0 || slices.ContainsFunc(field.Names, func(n *ast.Ident) bool { return n.IsExported() }) {
								parts = append(parts, field.Type)
							}
						}
						continue
					}
					parts = append(parts, spec.Type)
				case *ast.ValueSpec:
					if spec.Type != nil && slices.ContainsFunc(spec.Names, func(n *ast.Ident) bool { return n.IsExported() }) {
						parts = append(parts, spec.Type)
					}
				}
			}
		}
	}
	return parts
}

func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

// sources returns the files of a package, without tests.
func sources(t *testing.T, p string) (files []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, p, "*.go"))
	require.NoError(t, err)
	for _, f := range all {
		if !strings.HasSuffix(f, "_test.go") {
			files = append(files, f)
		}
	}
	return files
}

func importsOf(t *testing.T, file string) (paths []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	require.NoError(t, err)
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		paths = append(paths, path)
	}
	return paths
}

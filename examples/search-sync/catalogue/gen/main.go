// Command gen writes symbols.tsv.gz: the exported functions, methods, types
// and variables of Go's standard library, one a line, as package, name, kind,
// signature and synopsis with tabs between. Constants are left out: most of
// them are numbers of system calls and object file formats.
//
// It reads the sources of the Go that runs it, as they are for linux/amd64, so
// that the file is the same on every machine with that version of Go.
package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	output       = "symbols.tsv.gz"
	maxSignature = 300 // bytes; beyond it an ellipsis
)

// notPublic are directories without packages for users.
var notPublic = []string{"builtin", "cmd", "internal", "testdata", "vendor"}

// numeric are packages of little but names for numbers.
var numeric = []string{"debug/dwarf", "debug/elf", "debug/macho", "debug/pe", "syscall"}

func main() {
	log.SetFlags(0)
	goos := build.Default
	goos.GOOS, goos.GOARCH, goos.CgoEnabled = "linux", "amd64", false
	var lines []string
	root := filepath.Join(goos.GOROOT, "src")
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		case slices.Contains(notPublic, d.Name()), strings.HasPrefix(d.Name(), "_"):
			return filepath.SkipDir
		}
		path, err := filepath.Rel(root, dir)
		if err != nil || slices.Contains(numeric, filepath.ToSlash(path)) {
			return err
		}
		found, err := symbols(&goos, dir, filepath.ToSlash(path))
		lines = append(lines, found...)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := write(lines); err != nil {
		log.Fatal(err)
	}
	log.Printf("%s: %d symbols", output, len(lines))
}

// symbols returns the lines of a package, or none if the directory has none.
func symbols(goos *build.Context, dir, path string) ([]string, error) {
	found, err := goos.ImportDir(dir, 0)
	var none *build.NoGoError
	if errors.As(err, &none) || err == nil && found.Name == "main" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &pkg{path: path, files: token.NewFileSet()}
	var parsed []*ast.File
	for _, name := range found.GoFiles {
		f, err := parser.ParseFile(p.files, filepath.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	if p.docs, err = doc.NewFromFiles(p.files, parsed, path); err != nil {
		return nil, err
	}
	p.addValues(p.docs.Vars)
	p.addFuncs("func", p.docs.Funcs)
	for _, t := range p.docs.Types {
		p.addType(t)
	}
	slices.Sort(p.lines)
	return p.lines, nil
}

// pkg is a package whose symbols are being collected.
type pkg struct {
	path  string
	files *token.FileSet
	docs  *doc.Package
	lines []string
}

func (p *pkg) add(name, kind, signature, text string) {
	fields := []string{p.path, name, kind, signature, p.docs.Synopsis(text)}
	for i, f := range fields {
		fields[i] = strings.Join(strings.Fields(f), " ") // no tab, no line break
	}
	p.lines = append(p.lines, strings.Join(fields, "\t"))
}

func (p *pkg) addFuncs(kind string, funcs []*doc.Func) {
	for _, f := range funcs {
		name := f.Name
		if kind == "method" {
			name = strings.TrimPrefix(f.Recv, "*") + "." + name
		}
		bare := *f.Decl
		bare.Body, bare.Doc = nil, nil
		p.add(name, kind, p.print(&bare), f.Doc)
	}
}

func (p *pkg) addType(t *doc.Type) {
	spec := t.Decl.Specs[0].(*ast.TypeSpec)
	p.add(t.Name, "type", p.typeSignature(spec), t.Doc)
	p.addValues(t.Vars)
	p.addFuncs("func", t.Funcs)
	p.addFuncs("method", t.Methods)
}

// typeSignature is the type without its fields or methods.
func (p *pkg) typeSignature(spec *ast.TypeSpec) string {
	bare := *spec
	bare.Doc, bare.Comment = nil, nil
	switch spec.Type.(type) {
	case *ast.StructType:
		bare.Type = ast.NewIdent("struct")
	case *ast.InterfaceType:
		bare.Type = ast.NewIdent("interface")
	}
	return "type " + p.print(&bare)
}

func (p *pkg) addValues(values []*doc.Value) {
	for _, v := range values {
		for _, s := range v.Decl.Specs {
			spec := s.(*ast.ValueSpec)
			bare := *spec
			bare.Doc, bare.Comment = nil, nil
			text := cmp.Or(spec.Doc.Text(), spec.Comment.Text(), v.Doc)
			for _, name := range spec.Names {
				if ast.IsExported(name.Name) {
					p.add(name.Name, "var", "var "+p.print(&bare), text)
				}
			}
		}
	}
}

// print returns a piece of code as one line.
func (p *pkg) print(node any) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, p.files, node); err != nil {
		log.Fatal(err)
	}
	code := strings.Join(strings.Fields(b.String()), " ")
	if len(code) > maxSignature {
		code = strings.ToValidUTF8(code[:maxSignature], "") + "…"
	}
	return code
}

// write compresses the lines without a time, so that equal lines make equal
// files.
func write(lines []string) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(z, strings.Join(lines, "\n")); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(output, b.Bytes(), 0o644)
}

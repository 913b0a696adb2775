package docs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// root is that of the repository.
const root = "../../.."

// block is a fenced block of a document.
type block struct {
	file     string
	line     int
	language string
	comment  string // the HTML comment on the line before it, without its marks
	text     string
}

func (b block) name() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

// documents returns the text of every document, by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (d.Name() == "node_modules" || d.Name()[0] == '.') {
			return fs.SkipDir
		}
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		file, _ := filepath.Rel(root, path)
		all[file] = string(text)
		return err
	})
	require.NoError(t, err)
	return all
}

// blocks returns those of all documents, by document and in order.
func blocks(t *testing.T) (all []block) {
	t.Helper()
	texts := documents(t)
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		all = append(all, parse(file, texts[file])...)
	}
	return all
}

func parse(file, text string) (all []block) {
	var open *block
	var before string
	for i, line := range strings.Split(text, "\n") {
		switch {
		case open == nil && strings.HasPrefix(line, "```"):
			open = &block{file: file, line: i + 1, language: strings.TrimPrefix(line, "```"), comment: before}
		case open != nil && line == "```":
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line + "\n"
		}
		before = ""
		if comment, ok := strings.CutPrefix(line, "<!-- "); ok {
			before = strings.TrimSuffix(comment, " -->")
		}
	}
	return all
}

// program is a block, completed.
type program struct {
	block
	source string
	output string // that the document shows; empty: none
}

func programs(t *testing.T) (all []program) {
	shown := blocks(t)
	for i, b := range shown {
		p := program{block: b, source: b.text}
		prelude, fragment := strings.CutPrefix(b.comment, "go: ")
		switch {
		case b.language == "sql":
			before, _ := strings.CutPrefix(b.comment, "sql: ")
			p.source = within(t, "sql", fmt.Sprintf("before, block = %q, %q\n", before, b.text))
		case b.language != "go":
			continue
		case fragment:
			p.source = within(t, prelude, b.text)
		case !strings.HasPrefix(b.text, "package main\n"):
			t.Errorf("%s is neither a program nor names one in a comment", b.name())
			continue
		case i+1 < len(shown) && shown[i+1].language == "text" && shown[i+1].file == b.file:
			p.output = shown[i+1].text
		}
		all = append(all, p)
	}
	return all
}

// within is a program of testdata with a text in the place of its line // BLOCK.
func within(t *testing.T, name, text string) string {
	t.Helper()
	around, err := os.ReadFile(filepath.Join("testdata", name+".go"))
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(around, []byte("// BLOCK\n")), "testdata/%s.go: lines with // BLOCK", name)
	return strings.Replace(string(around), "// BLOCK\n", text, 1)
}

// TestBlocks builds all blocks at once, in a module of their own, and runs each.
func TestBlocks(t *testing.T) {
	all := programs(t)
	module := t.TempDir()
	here, err := filepath.Abs(root)
	require.NoError(t, err)
	mod, err := os.ReadFile(filepath.Join(root, "go.mod")) // it requires what the blocks import
	require.NoError(t, err)
	mod = regexp.MustCompile(`(?m)^module .*$`).ReplaceAll(mod, fmt.Appendf(nil, "module example.com/docs\n"+
		"require github.com/gapless-go/gapless v0.0.0\nreplace github.com/gapless-go/gapless => %s\n", here))
	require.NoError(t, os.WriteFile(filepath.Join(module, "go.mod"), mod, 0o600))
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(module, "go.sum"), sum, 0o600))
	for i, p := range all {
		folder := filepath.Join(module, fmt.Sprint("block", i))
		require.NoError(t, os.MkdirAll(folder, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "main.go"), []byte(p.source), 0o600))
	}
	build := exec.Command("go", "build", "-o", "bin/", "./...")
	build.Dir, build.Env = module, append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := build.CombinedOutput()
	for i, p := range all {
		out = bytes.ReplaceAll(out, fmt.Appendf(nil, "block%d/", i), []byte(p.name()+" "))
	}
	require.NoError(t, err, "%s", out)
	for i, p := range all {
		t.Run(p.name(), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, filepath.Join(module, "bin", fmt.Sprint("block", i))).CombinedOutput()
			require.NoError(t, err, "%s", out)
			if bytes.HasPrefix(out, []byte("skipped: ")) && os.Getenv("GAPLESS_NEED_POSTGRES") == "" {
				t.Skip(string(out))
			}
			require.NotContains(t, string(out), "skipped: ")
			if p.output != "" {
				require.Equal(t, p.output, string(out))
			}
		})
	}
}

func TestParse(t *testing.T) {
	got := parse("x.md", "<!-- go: one -->\n```go\na\n\nb\n```\n<!-- go: two -->\n\n```sh\nc\n```\n")
	require.Equal(t, []block{{"x.md", 2, "go", "go: one", "a\n\nb\n"}, {"x.md", 9, "sh", "", "c\n"}}, got)
}

package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// command is a shell command that a document gives.
type command struct {
	where  string
	folder string // relative to the root
	words  []string
}

var (
	inline = regexp.MustCompile("`((?:go|npm|bash|\\./)[ /][^`]+)`(?:\\s+in\\s+`([^`]+)`)?")
	word   = regexp.MustCompile(`'[^']*'|\S+`)
)

// commands returns those of the shell's blocks, of blocks of text that consist of
// commands, and of code within the prose, with "in `folder`" behind it.
func commands(t *testing.T) (all []command) {
	add := func(where, folder, line string) {
		line, _, _ = strings.Cut(line, " # ")
		for one := range strings.SplitSeq(line, "&&") {
			words := word.FindAllString(one, -1)
			for i := range words {
				words[i] = strings.Trim(words[i], "'")
			}
			if len(words) > 0 {
				all = append(all, command{where, folder, words})
			}
		}
	}
	for _, b := range blocks(t) {
		folder := "."
		if b.language != "sh" && (b.language != "text" || !regexp.MustCompile(`^(cd|go) `).MatchString(b.text)) {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, filepath.Dir(b.file), "run")); err == nil {
			folder = filepath.Dir(b.file)
		}
		for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
			line = strings.TrimSpace(line)
			if to, cd := strings.CutPrefix(line, "cd "); cd {
				folder = filepath.Join(folder, to)
				require.DirExists(t, filepath.Join(root, folder), b.name())
				continue
			}
			add(b.name(), folder, line)
		}
	}
	for file, text := range documents(t) {
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			folder := "."
			if !strings.HasPrefix(m[1], "go ") {
				folder = filepath.Dir(file)
			}
			add(file, filepath.Join(folder, m[2]), strings.ReplaceAll(m[1], "\n", " "))
		}
	}
	return all
}

// TestCommands looks at every command: its program or package exists, has its
// flags, and has the tests and benchmarks that it names.
func TestCommands(t *testing.T) {
	all := commands(t)
	require.Greater(t, len(all), 20)
	installed := map[string]string{} // the folders of programs
	for _, c := range all {
		t.Run(c.where+" "+strings.Join(c.words, " "), func(t *testing.T) {
			switch name := c.words[0]; {
			case name == "export":
			case name == "npm":
				require.FileExists(t, filepath.Join(root, c.folder, "package.json"))
			case strings.HasSuffix(name, ".out"): // what a command before it has made
			case strings.HasPrefix(name, "./"):
				require.FileExists(t, filepath.Join(root, c.folder, name))
			case name == "go" && c.words[1] == "run":
				c.checkRun(t, c.words[2], c.words[3:])
			case name == "go" && c.words[1] == "install":
				folder, ours := strings.CutPrefix(strings.TrimSuffix(c.words[2], "@latest"), "github.com/gapless-go/gapless/")
				require.True(t, ours)
				c.checkRun(t, "./"+folder, nil)
				installed[filepath.Base(folder)] = "./" + folder
			case installed[name] != "":
				c.checkRun(t, installed[name], c.words[1:])
			case name == "go" && c.words[1] == "test":
				c.checkTest(t)
			case name == "go" && slices.Contains([]string{"get", "tool"}, c.words[1]):
			case name == "go" && (c.words[1] == "build" || c.words[1] == "doc"):
				require.NotEmpty(t, sources(t, filepath.Join(root, c.folder, c.words[len(c.words)-1]), ".go"))
			default:
				t.Errorf("what is %q?", name)
			}
		})
	}
}

// checkRun asks the program for its flags.
func (c command) checkRun(t *testing.T, program string, args []string) {
	folder := filepath.Join(root, c.folder, program)
	require.NotEmpty(t, sources(t, folder, ".go"), "%s is no package", program)
	flags := slices.DeleteFunc(slices.Clone(args), func(w string) bool { return !strings.HasPrefix(w, "-") })
	if strings.Contains(c.folder, "fcm") || len(flags) == 0 { // that module is in no workspace
		return
	}
	help := exec.Command("go", "run", program, "-h")
	help.Dir = filepath.Join(root, c.folder)
	out, _ := help.CombinedOutput() // some exit with 2 behind it
	for _, f := range flags {
		name, _, _ := strings.Cut(f, "=")
		require.Regexp(t, `(?m)^\s+`+name+`\b`, string(out))
	}
}

// checkTest looks for the functions in the sources.
func (c command) checkTest(t *testing.T) {
	var tests string
	pattern := map[string]string{}
	for i := 2; i < len(c.words); i++ {
		switch w := c.words[i]; {
		case w == "work":
			return
		case w == "-run" || w == "-bench":
			i++
			pattern[w] = c.words[i]
		case strings.HasPrefix(w, "."):
			tests += sources(t, filepath.Join(root, c.folder, w), "_test.go")
		}
	}
	require.NotEmpty(t, tests, "no package with tests")
	for flag, kind := range map[string]string{"-run": "Test", "-bench": "Benchmark"} {
		name, _, _ := strings.Cut(pattern[flag], "/") // what is behind it names a part of one
		if name == "" || name == "^$" {
			continue
		}
		for _, one := range strings.Split(name, "|") {
			matches := regexp.MustCompile(one).MatchString
			names := regexp.MustCompile(`(?m)^func (`+kind+`\w*)\(`).FindAllStringSubmatch(tests, -1)
			require.True(t, slices.ContainsFunc(names, func(m []string) bool { return matches(m[1]) }), "%s %s matches nothing", flag, one)
		}
	}
}

// sources is the text of all files of a folder whose names end like that.
func sources(t *testing.T, folder, suffix string) (all string) {
	t.Helper()
	files, err := fs.Glob(os.DirFS(folder), "*"+suffix)
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(folder, f))
		require.NoError(t, err)
		all += string(text)
	}
	return all
}

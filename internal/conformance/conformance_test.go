// Package conformance holds docs/conformance.md to what is there.
package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// statements is how many there are.
const statements = 75

// dirs are the packages whose tests the document names.
var dirs = map[string]string{
	"cache": "cache", "cdc": "cdc", "channel": "channel", "realtime": "realtime", "mockserver": "mockserver", "phoenix": "internal/phoenix",
}

var (
	row     = regexp.MustCompile(`(?m)^\| C(\d+) \| (.+) \| (.+) \|$`)
	named   = regexp.MustCompile("`([a-z]+)\\.(Test\\w+)`")
	defined = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	numbers = regexp.MustCompile(`C(\d+)`)
)

func TestEveryStatementHasATestOrAReason(t *testing.T) {
	text, err := os.ReadFile("../../docs/conformance.md")
	require.NoError(t, err)
	exist := map[string]bool{}
	for name, dir := range dirs {
		for _, test := range testsIn(t, filepath.Join("..", "..", dir)) {
			exist[name+"."+test] = true
		}
	}
	rows := row.FindAllStringSubmatch(string(text), -1)
	require.Len(t, rows, statements)
	listed := map[string]bool{}
	for i, r := range rows {
		require.Equal(t, fmt.Sprint(i+1), r[1], "in order")
		tests := named.FindAllStringSubmatch(r[3], -1)
		require.True(t, len(tests) > 0 || len(strings.Fields(r[3])) > 5, "C%s has neither a test nor a reason", r[1])
		for _, test := range tests {
			require.True(t, exist[test[1]+"."+test[2]], "C%s: there is no %s.%s", r[1], test[1], test[2])
			listed["C"+r[1]+" "+test[1]+"."+test[2]] = true
		}
	}
	for test := range exist { // nor is a numbered test forgotten
		_, name, _ := strings.Cut(test, ".")
		for _, n := range numbers.FindAllString(prefix(name), -1) {
			require.True(t, listed[n+" "+test], "%s is not listed at %s", test, n)
		}
	}
}

// prefix returns the statements that begin a test's name: TestC8C13AJoin… is
// of C8 and C13.
func prefix(name string) string {
	return regexp.MustCompile(`^Test(C\d+)+`).FindString(name)
}

func testsIn(t *testing.T, dir string) (tests []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range defined.FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, m[1])
		}
	}
	return tests
}

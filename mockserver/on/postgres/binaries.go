package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
)

// ErrNoBinaries says that PostgreSQL's initdb and postgres are not on this
// machine.
var ErrNoBinaries = errors.New("postgres: PostgreSQL is not installed here (looked for initdb and postgres on PATH and where distributions keep them)")

// ErrTooOld says that a PostgreSQL is older than MinVersion.
var ErrTooOld = fmt.Errorf("postgres: PostgreSQL %d or newer is needed", MinVersion)

// MinVersion is the oldest major version of PostgreSQL that will do.
const MinVersion = 14

// places are where PostgreSQL's binaries are, off PATH: Debian, Red Hat and
// SUSE, Alpine, from source, Homebrew on both kinds of Mac, Postgres.app, and
// Windows.
var places = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/lib/postgresql*/bin",
	"/usr/libexec/postgresql*",
	"/usr/local/pgsql/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	`C:\Program Files\PostgreSQL\*\bin`,
}

// binaries are the programs of one installation.
type binaries struct {
	initdb, postgres string
	version          int // major
}

// FindBinaries returns the directory with the newest initdb and postgres on
// PATH or where distributions keep them, and its major version. The error is
// ErrNoBinaries or ErrTooOld.
func FindBinaries() (dir string, version int, err error) {
	b, err := findBinaries("")
	return filepath.Dir(b.postgres), b.version, err
}

// findBinaries looks in dir, or everywhere if dir is empty.
func findBinaries(dir string) (best binaries, err error) {
	dirs := []string{dir}
	if dir == "" {
		dirs = candidates()
	}
	for _, d := range dirs {
		if b, ok := binariesIn(d); ok && b.version > best.version {
			best = b
		}
	}
	switch {
	case best.version == 0 && dir != "":
		return best, fmt.Errorf("%w: no initdb and postgres that run in %s", ErrNoBinaries, dir)
	case best.version == 0:
		return best, ErrNoBinaries
	case best.version < MinVersion:
		return best, fmt.Errorf("%w: %s is version %d", ErrTooOld, best.postgres, best.version)
	}
	return best, nil
}

func candidates() (dirs []string) {
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, place := range places {
		found, _ := filepath.Glob(place) // the patterns are well formed
		dirs = append(dirs, found...)
	}
	return dirs
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// binariesIn asks the programs of a directory for their version.
func binariesIn(dir string) (b binaries, ok bool) {
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	b = binaries{initdb: filepath.Join(dir, "initdb"+suffix), postgres: filepath.Join(dir, "postgres"+suffix)}
	if _, err := os.Stat(b.initdb); err != nil {
		return b, false
	}
	out, err := exec.Command(b.postgres, "--version").Output()
	if err != nil {
		return b, false
	}
	if m := versionText.FindSubmatch(out); m != nil {
		b.version, _ = strconv.Atoi(string(m[1])) // digits
	}
	return b, b.version > 0
}

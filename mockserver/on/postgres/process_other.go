//go:build !unix

package postgres

import (
	"os"
	"os/exec"
)

// unicodeLocale has no name that is the same everywhere but on unix.
const unicodeLocale = "C"

// account is the user that PostgreSQL runs as: ours.
type account struct{}

func serverAccount() (account, error) { return account{}, nil }
func (account) own(string) error      { return nil }
func (account) run(*exec.Cmd)         {}

// There are no signals to ask it with, so that a stop is a crash.
func interrupt(p *os.Process) { _ = p.Kill() }
func quit(p *os.Process)      { _ = p.Kill() }

type guard struct{}

func startGuard(int, string, string) *guard { return nil }
func (*guard) stop()                        {}

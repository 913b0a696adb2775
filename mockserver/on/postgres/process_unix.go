//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// unicodeLocale makes lower, upper and ILIKE work beyond ASCII.
const unicodeLocale = "C.UTF-8"

// account is the user that PostgreSQL runs as. The zero value is ours.
type account struct {
	other    bool
	uid, gid uint32
}

// serverAccount is our own account, or for root that of the user postgres or
// else nobody.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return account{}, fmt.Errorf("postgres: user %s: %w", name, err)
		}
		return account{other: true, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return account{}, errors.New("postgres: PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

// own gives an empty directory to the account. One with something in it is
// left as it is, and PostgreSQL says so if it may not use it.
func (a account) own(dir string) error {
	if !a.other {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		return err
	}
	return os.Lchown(dir, int(a.uid), int(a.gid))
}

// run makes cmd run as the account, and in a process group of its own: an
// interrupt at the terminal is for us, who then stop it in order.
func (a account) run(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
}

func interrupt(p *os.Process) { _ = p.Signal(syscall.SIGINT) } // an error: it has ended
func quit(p *os.Process)      { _ = p.Signal(syscall.SIGQUIT) }

// guard is a shell that outlives us if we are killed, and then ends the server
// and removes what is temporary.
type guard struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// The shell ends the server only if the data directory still says that the
// process is its server: the number may be another's by then.
const guardScript = `read line
[ "$line" = stop ] && exit
[ "$(head -n 1 "$2/postmaster.pid" 2>/dev/null)" = "$1" ] && kill -QUIT "$1" && sleep 1
rm -rf "$3"`

// startGuard returns nil where there is no shell: then a killed test leaves
// its server behind.
func startGuard(pid int, dir, temporary string) *guard {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "sh", strconv.Itoa(pid), dir, temporary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return nil
	}
	return &guard{cmd: cmd, stdin: stdin}
}

// stop ends the guard without its doing anything.
func (g *guard) stop() {
	if g == nil {
		return
	}
	_ = g.cmd.Process.Kill()
	_ = g.stdin.Close()
	_ = g.cmd.Wait()
}

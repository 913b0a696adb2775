//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package atomicfile

import "os"

// Lock does nothing on this system.
func Lock(*os.File) error { return nil }

// unsupported: this system may refuse to sync a directory, which loses nothing
// but the last rename in a crash.
func unsupported(error) bool { return true }

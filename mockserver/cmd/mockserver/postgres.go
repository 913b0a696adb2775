package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// postgresCommand serves a real PostgreSQL. It is of a module of its own, since
// whoever has this one in the module graph is not to have a PostgreSQL driver in
// it. So it is not linked but built.
const postgresCommand = "github.com/gapless-go/gapless/mockserver/postgres/cmd/mockserver"

// forPostgres reports whether the arguments are for that command, and returns
// them without the flag that says so.
func forPostgres(args []string) (rest []string, ok bool) {
	i := slices.IndexFunc(args, func(a string) bool { return a == "-postgres" || a == "--postgres" })
	if i < 0 {
		return nil, false
	}
	return slices.Delete(slices.Clone(args), i, i+1), true
}

// stopPatience is how long the command may take to stop.
const stopPatience = 30 * time.Second

// servePostgres builds the command and runs it until ctx ends.
func servePostgres(ctx context.Context, args []string, out, errOut io.Writer) int {
	dir, err := os.MkdirTemp("", "gapless-mockserver-")
	if err != nil {
		fmt.Fprintln(errOut, "mockserver:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "mockserver")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, postgresCommand)
	build.Stdout, build.Stderr = errOut, errOut
	if err := build.Run(); err != nil {
		fmt.Fprintf(errOut, "mockserver: -postgres builds %s, which needs Go and that module: %v\n", postgresCommand, err)
		return 1
	}
	serve := exec.CommandContext(ctx, program, args...)
	serve.Stdout, serve.Stderr = out, errOut
	serve.Cancel = func() error { return serve.Process.Signal(os.Interrupt) }
	serve.WaitDelay = stopPatience
	err = serve.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && serve.ProcessState != nil && serve.ProcessState.Success():
		return 0
	case errors.As(err, &exit):
		return max(1, exit.ExitCode())
	case err != nil:
		fmt.Fprintln(errOut, "mockserver:", err)
		return 1
	}
	return 0
}

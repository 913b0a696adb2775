package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// consumer is a module outside of the repository, which knows it by its directory.
type consumer struct {
	*testing.T
	dir string
}

func newConsumer(t *testing.T, program string) consumer {
	if testing.Short() {
		t.Skip("it builds programs")
	}
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	c := consumer{t, t.TempDir()}
	c.write("go.mod", "module example.com/consumer\n\ngo 1.25.0\n\nrequire github.com/gapless-go/gapless v0.0.0\n\nreplace github.com/gapless-go/gapless => "+root+"\n")
	c.write("go.sum", string(sum))
	c.write("main.go", program)
	return c
}

func (c consumer) write(name, text string) {
	require.NoError(c, os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600))
}

// run runs a program in an empty directory of the module and returns what it says.
func (c consumer) run(name string, args ...string) string {
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOBIN="+c.dir)
	out, err := cmd.CombinedOutput()
	require.NoError(c, err, "%s", out)
	return string(out)
}

// Who uses the client and the cache has no PostgreSQL driver in the program, nor
// in the module's requirements.
func TestConsumer_OfTheClientHasNoDriver(t *testing.T) {
	c := newConsumer(t, `package main

import (
	"context"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/realtime"
)

type order struct{ ID int64 }

func main() {
	client, err := realtime.New(realtime.Options{URL: "https://abc.supabase.co", Key: "key"})
	if err != nil {
		panic(err)
	}
	orders, err := cache.New(client, "orders", func(o order) int64 { return o.ID })
	if err != nil {
		panic(err)
	}
	_ = orders.Run(context.Background())
}
`)
	c.run("go", "build", "-o", "program", ".")
	about := c.run("go", "version", "-m", "program")
	require.Contains(t, about, "coder/websocket")
	require.NotContains(t, about, "jackc")
	require.Contains(t, c.run("go", "mod", "why", "-m", "github.com/jackc/pgx/v5"), "main module does not need")
	c.run("go", "mod", "tidy")
	mod, err := os.ReadFile(filepath.Join(c.dir, "go.mod"))
	require.NoError(t, err)
	require.NotContains(t, string(mod), "jackc")
}

// A module that requires this one has the mock server on PostgreSQL, too, and
// both commands are built and run outside of the repository.
func TestConsumer_OfTheMockServer(t *testing.T) {
	c := newConsumer(t, `package main

import (
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

var options = postgres.Options{Config: mockserver.Config{Timing: mockserver.Fast()}}

func main() { _, _, _ = postgres.FindBinaries() }
`)
	c.run("go", "build", "-o", "program", ".")
	require.Contains(t, c.run("go", "version", "-m", "program"), "jackc/pgx")
	c.run("./program")
	const one = "github.com/gapless-go/gapless/mockserver/cmd/mockserver"
	c.run("go", "install", one)
	require.Contains(t, c.run("./mockserver", "-postgres", "-h"), "-pg-bin")
	require.Contains(t, c.run("./mockserver", "-h"), "-proxy")
}

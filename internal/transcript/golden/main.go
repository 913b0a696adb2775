// Command golden asks PostgreSQL what the values of the transcripts are.
//
// It starts a private PostgreSQL 15, applies schema.sql, runs the statements
// of each transcript again and lets row triggers write down every change, with
// each value in PostgreSQL's own text form (see golden.sql). The result is one
// file of JSON for each scenario, which the tests of package cdc hold the
// decoded frames against. Nothing of package cdc is used here.
//
// It is run by hand, after the transcripts have changed:
//
//	go run ./internal/transcript/golden -out cdc/testdata/golden
//
// PostgreSQL does not run as root; root names another user with -user postgres.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gapless-go/gapless/internal/transcript"
)

//go:embed stubs.sql
var stubs string

//go:embed golden.sql
var golden string

// unrecorded has the statements that a transcript tells of in its notes alone.
var unrecorded = map[string]string{
	// One row a second while the server drops events.
	"19-limits": "insert into t_items(id) select g from generate_series(20000, 20100) g",
	// T1 of the two overlapping transactions.
	"20-transactions": "insert into t_items(id) values (4001); insert into t_items(id) values (4003)",
}

// unseen has the statements none of whose rows is in a frame, by the place
// after which they come: they would fill the golden file of that scenario.
var unseen = map[string]int{"19-limits": 1}

func main() {
	log.SetFlags(0)
	bin := flag.String("bin", "/usr/lib/postgresql/15/bin", "directory of initdb and postgres")
	out := flag.String("out", "cdc/testdata/golden", "directory to write to")
	as := flag.String("user", "", "user to run PostgreSQL as")
	flag.Parse()
	if err := run(*bin, *out, *as); err != nil {
		log.Fatal(err)
	}
}

func run(bin, out, as string) error {
	c, err := start(bin, as)
	if err != nil {
		return err
	}
	defer c.stop()
	done := map[string]bool{}
	for _, name := range transcript.Names() {
		scenario, _, _ := strings.Cut(name, ".vsn")
		if done[scenario] {
			continue // the other protocol version, with the same statements
		}
		done[scenario] = true
		t, err := transcript.Load(name)
		if err != nil {
			return err
		}
		if err := c.replay(scenario, t, filepath.Join(out, scenario+".json")); err != nil {
			return fmt.Errorf("%s: %w", scenario, err)
		}
	}
	return nil
}

// cluster is a private PostgreSQL, reached by a socket in dir.
type cluster struct {
	dir, bin string
	cred     *syscall.Credential
}

func start(bin, as string) (*cluster, error) {
	dir, err := os.MkdirTemp("", "golden")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, bin: bin}
	if as != "" {
		if c.cred, err = credential(as); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, int(c.cred.Uid), int(c.cred.Gid)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	if _, err := c.command("", filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-E", "UTF8", "--no-locale", "-A", "trust"); err != nil {
		return nil, err
	}
	options := "-c listen_addresses= -c unix_socket_directories=" + dir + " -c timezone=UTC -c fsync=off"
	_, err = c.command("", filepath.Join(bin, "pg_ctl"), "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", options, "start")
	return c, err
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func (c *cluster) stop() {
	if _, err := c.command("", filepath.Join(c.bin, "pg_ctl"), "-D", filepath.Join(c.dir, "data"), "-m", "fast", "stop"); err != nil {
		log.Print(err)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		log.Print(err)
	}
}

// command runs a program as the cluster's user and returns what it printed.
func (c *cluster) command(stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = c.dir
	cmd.Stdin = strings.NewReader(stdin)
	if c.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(name), err, stderr.String())
	}
	return stdout.String(), nil
}

// psql runs a script, every statement of it in a transaction of its own unless
// the script says otherwise.
func (c *cluster) psql(db, script string) (string, error) {
	return c.command(script, "psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", c.dir, "-U", "postgres", "-d", db)
}

// query runs statements as one simple query, as the recording did: without a
// BEGIN of their own they are one transaction.
func (c *cluster) query(db string, statement int, sql string) error {
	set := fmt.Sprintf("set golden.statement = %d", statement)
	_, err := c.command("", "psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", c.dir, "-U", "postgres", "-d", db, "-c", set, "-c", sql)
	return err
}

// replay runs the statements of a transcript in a fresh database and writes
// what was logged to file, unless that is nothing.
func (c *cluster) replay(scenario string, t transcript.Transcript, file string) error {
	db := "s" + scenario[:2]
	if _, err := c.psql("postgres", "create database "+db); err != nil {
		return err
	}
	if _, err := c.psql(db, stubs+transcript.Schema()+golden); err != nil {
		return err
	}
	n := 0
	for _, l := range t.Lines {
		if l.Dir != "sql" {
			continue
		}
		if end, ok := unseen[scenario]; !ok || n < end {
			if err := c.query(db, n, l.Frame); err != nil {
				log.Printf("%s: statement %d: %v", scenario, n, err)
			}
		}
		n++
	}
	if sql, ok := unrecorded[scenario]; ok {
		if err := c.query(db, -1, sql); err != nil {
			return err
		}
	}
	return c.dump(db, file)
}

func (c *cluster) dump(db, file string) error {
	docs, err := c.psql(db, "select doc from golden.dump order by shape desc, seq")
	if err != nil || docs == "" {
		return err
	}
	var out bytes.Buffer
	for line := range strings.Lines(docs) {
		if err := json.Compact(&out, []byte(line)); err != nil {
			return err
		}
		out.WriteByte('\n')
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

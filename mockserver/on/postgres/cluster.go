package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that owns a private cluster, and the name of its
// database.
const Superuser = "postgres"

// ClusterOptions says how StartCluster makes a cluster. The zero value is a
// cluster for a test: in a directory of its own that goes with it, reached
// over a unix socket by nobody else, and fast because it need not survive a
// power cut.
type ClusterOptions struct {
	// BinDir is the directory with initdb and postgres; empty: the newest that
	// is found, see FindBinaries.
	BinDir string
	// Dir is the cluster's data directory, which is made if it is not there or
	// empty, is not removed, and is written to disk with care; empty: a
	// temporary one.
	Dir string
	// Addr is a TCP address to listen on besides, where the user is Superuser
	// and the password is Password; port 0: a free one; empty: none.
	Addr string
	// Password is that of connections over TCP. Empty: one is made up, which
	// only URL tells.
	Password string
	// Settings are further settings of PostgreSQL, such as
	// {"max_connections": "20"}. They win over those that StartCluster chooses.
	Settings map[string]string
}

// Cluster is a running PostgreSQL server of our own. It is safe for concurrent
// use. Close it when done.
type Cluster struct {
	bin       binaries
	owner     account
	dir       string // the data directory
	temporary string // removed by Close: everything of a cluster without Options.Dir, or the socket's directory
	socket    string // the directory of the unix socket
	host      string // of Options.Addr
	port      int
	password  string
	settings  []string // -c name=value …

	mu      sync.Mutex
	process *process // nil: stopped
}

// StartCluster makes a PostgreSQL cluster whose wal_level is logical and
// starts it. It blocks until connections are taken, which takes a second or
// two, or until ctx ends, which bounds the start and not the life of the
// cluster. Started by root, PostgreSQL runs as the user postgres or else
// nobody, since it refuses to run as root.
//
// The error is ErrNoBinaries where PostgreSQL is not installed, and
// ErrTooOld where it is older than version 14.
func StartCluster(ctx context.Context, opts ClusterOptions) (_ *Cluster, err error) {
	bin, err := findBinaries(opts.BinDir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{bin: bin, port: 5432, password: opts.Password}
	if c.owner, err = serverAccount(); err != nil {
		return nil, err
	}
	if c.password == "" {
		c.password = rand.Text()
	}
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	if err := c.place(opts); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	c.configure(opts)
	if err := c.initialize(ctx); err != nil {
		return nil, err
	}
	return c, c.Start(ctx)
}

// place makes the directories and picks the address.
func (c *Cluster) place(opts ClusterOptions) (err error) {
	// A short name: a unix socket's path may have about a hundred bytes.
	if c.temporary, err = os.MkdirTemp("", "gapless-pg-"); err != nil {
		return err
	}
	if err := c.owner.own(c.temporary); err != nil {
		return err
	}
	c.socket, c.dir = c.temporary, filepath.Join(c.temporary, "data")
	if opts.Dir != "" {
		if c.dir, err = filepath.Abs(opts.Dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	if err := c.owner.own(c.dir); err != nil {
		return err
	}
	if opts.Addr != "" {
		c.host, c.port, err = freeAddress(opts.Addr)
	}
	return err
}

// freeAddress resolves port 0 to one that is free at this moment.
func freeAddress(addr string) (host string, port int, err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", 0, err
	}
	defer l.Close()
	tcp := l.Addr().(*net.TCPAddr)
	return tcp.IP.String(), tcp.Port, nil
}

func (c *Cluster) configure(opts ClusterOptions) {
	set := map[string]string{
		"wal_level":               "logical",
		"max_wal_senders":         "20",
		"max_replication_slots":   "20",
		"listen_addresses":        c.host,
		"port":                    strconv.Itoa(c.port),
		"unix_socket_directories": c.socket,
		"logging_collector":       "off",
		"log_min_messages":        "fatal",
		"timezone":                "UTC",
	}
	if opts.Dir == "" { // it need not survive the machine
		set["fsync"], set["full_page_writes"] = "off", "off"
	}
	for name, value := range opts.Settings {
		set[name] = value
	}
	for name, value := range set {
		c.settings = append(c.settings, "-c", name+"="+value)
	}
}

// initialize runs initdb unless the directory has a cluster already.
// Connections over the unix socket, whose directory only its owner may enter,
// are trusted; those over TCP need the password, which may be another one at
// each start.
func (c *Cluster) initialize(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.dir, "PG_VERSION")); err == nil {
		return nil
	}
	args := []string{
		"-D", c.dir, "-U", Superuser, "--encoding=UTF8", "--lc-collate=C", "--lc-ctype=" + unicodeLocale,
		"--lc-messages=C", "--lc-monetary=C", "--lc-numeric=C", "--lc-time=C",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--no-instructions",
	}
	if c.dir == filepath.Join(c.temporary, "data") {
		args = append(args, "--no-sync")
	}
	cmd := c.command(exec.CommandContext(ctx, c.bin.initdb, args...))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("postgres: initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// command makes cmd one of the cluster's owner, with nothing of our
// environment that PostgreSQL would listen to.
func (c *Cluster) command(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = c.temporary
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PG") && !strings.HasPrefix(v, "LC_") && !strings.HasPrefix(v, "LANG") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C", "HOME="+c.temporary)
	c.owner.run(cmd)
	return cmd
}

// Start starts a cluster that was stopped, at the same address. It blocks
// until connections are taken or ctx ends. A running one is left alone.
func (c *Cluster) Start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		return nil
	}
	p, err := c.launch()
	if err != nil {
		return err
	}
	c.process = p
	if err := c.ready(ctx, p); err != nil {
		p.stop(immediate)
		c.process = nil
		return err
	}
	return nil
}

// ready waits until the server takes connections, and sets the password.
func (c *Cluster) ready(ctx context.Context, p *process) error {
	const pause = 20 * time.Millisecond
	for {
		err := c.setPassword(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("postgres: the server ended as it started: %s", p.said())
		case <-ctx.Done():
			return fmt.Errorf("postgres: the server does not take connections: %w", errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

func (c *Cluster) setPassword(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.socketURL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var stored string
	// ALTER ROLE takes no parameters; format quotes.
	err = conn.QueryRow(ctx, "select format('alter role %I password %L', $1::text, $2::text)", Superuser, c.password).Scan(&stored)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, stored)
	return err
}

// Stop stops the server as an operator would: connections are ended and
// transactions rolled back, and what was committed is kept. Start starts it
// again. A stopped one is left alone.
func (c *Cluster) Stop() { c.end(fast) }

// Crash ends the server at once, as a failure of it does. Start starts it
// again, and it recovers what was committed.
func (c *Cluster) Crash() { c.end(immediate) }

func (c *Cluster) end(how stopMode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		c.process.stop(how)
		c.process = nil
	}
}

// Close stops the server and waits for it, and removes what is temporary.
// Twice is fine.
func (c *Cluster) Close() error {
	how := fast
	if c.dir == filepath.Join(c.temporary, "data") {
		how = immediate // nobody will want what is in it
	}
	c.end(how)
	if c.temporary == "" {
		return nil
	}
	return os.RemoveAll(c.temporary)
}

// URL returns the cluster's database as Superuser: over TCP with the password
// if there is ClusterOptions.Addr, and over the unix socket otherwise.
func (c *Cluster) URL() string {
	if c.host == "" {
		return c.socketURL()
	}
	u := url.URL{
		Scheme: "postgresql", User: url.UserPassword(Superuser, c.password),
		Host: net.JoinHostPort(c.host, strconv.Itoa(c.port)), Path: "/" + Superuser,
	}
	return u.String()
}

func (c *Cluster) socketURL() string {
	q := url.Values{"host": {c.socket}, "port": {strconv.Itoa(c.port)}, "user": {Superuser}}
	return "postgresql:///" + Superuser + "?" + q.Encode()
}

// Version returns the server's major version, such as 15.
func (c *Cluster) Version() int { return c.bin.version }

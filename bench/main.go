// Command bench measures the way of an event from the socket to a user's loop,
// beside other clients that do the same work or less.
//
//	go run ./bench
//
// A push server in a process of its own sends changes over loopback, no two of
// them alike: of tables of 4, 12 and 40 columns, with the text, the numbers and
// the documents that such tables hold. Each client is a process, too; a round runs each once,
// so that what disturbs the machine disturbs all. It prints medians over the
// rounds, and each client's ratio to the loop by hand of the same round.
// The clients:
//
//	read         coder/websocket's Read in a loop: decodes nothing
//	reader       Reader into one buffer, reads of 64 KiB: decodes nothing
//	goccy        the same, and goccy/go-json into a struct
//	realtime-js  Supabase's client, in Node; left out where there is no npm
//	gapless      this module: client, channel, and cdc.As into the same struct
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

type options struct {
	events, rounds, paced  int
	only                   string
	role, client, url      string
	perSecond              int
	profile, allocs, block string
}

func main() {
	var o options
	flag.IntVar(&o.events, "events", 200_000, "events of a flood; 0: no flood")
	flag.IntVar(&o.paced, "paced", 5_000, "events of a paced run, at 1,000 a second; 0: none")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each")
	flag.StringVar(&o.only, "only", "", "the clients to run, by name, with commas between")
	flag.StringVar(&o.role, "role", "", "what this process is; for the command's own use")
	flag.StringVar(&o.client, "client", "", "of a client: which")
	flag.StringVar(&o.url, "url", "", "of a client: the server's address")
	flag.IntVar(&o.perSecond, "per-second", 0, "of a server: events a second; 0: a flood")
	flag.StringVar(&o.profile, "cpuprofile", "", "a file for a CPU profile of the last round of gapless")
	flag.StringVar(&o.allocs, "memprofile", "", "a file for a profile of what it allocates")
	flag.StringVar(&o.block, "blockprofile", "", "a file for a profile of what it waits for")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	switch o.role {
	case "server":
		return serve(o.events, o.perSecond)
	case "client":
		return runClient(o)
	}
	names, err := chosen(o.only)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %s/%s, GOMAXPROCS %d, %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), cpuModel())
	if o.events > 0 {
		results, err := rounds(o, names, o.events, 0)
		if err != nil {
			return err
		}
		printFlood(os.Stdout, names, results)
	}
	if o.paced > 0 {
		decoding := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "read" || n == "reader" })
		results, err := rounds(o, decoding, o.paced, 1000)
		if err != nil {
			return err
		}
		printPaced(os.Stdout, decoding, results)
	}
	return nil
}

// chosen returns the clients to run. Node's packages are installed if they are
// not there.
func chosen(only string) (names []string, err error) {
	for _, c := range clients {
		if only != "" && !slices.Contains(strings.Split(only, ","), c.name) {
			continue
		}
		if c.run == nil {
			if err := installJS(); err != nil {
				fmt.Fprintln(os.Stderr, "bench: without", c.name+":", err)
				continue
			}
		}
		names = append(names, c.name)
	}
	return names, nil
}

// jsDir is where the Node client is.
func jsDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "js")
}

func installJS() error {
	if _, err := os.Stat(filepath.Join(jsDir(), "node_modules")); err == nil {
		return nil
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir, cmd.Stderr = jsDir(), os.Stderr
	return cmd.Run()
}

// rounds runs every client once a round and returns their results by name.
func rounds(o options, names []string, events, perSecond int) (map[string][]result, error) {
	url, stop, err := startServer(events, perSecond)
	if err != nil {
		return nil, err
	}
	defer stop()
	results := map[string][]result{}
	want := expected(events)
	for round := range o.rounds {
		for _, name := range names {
			r, err := runOne(name, url, events, perSecond, o)
			if err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", round+1, name, err)
			}
			if r.Events != events || name == "gapless" && r.sums != want {
				return nil, fmt.Errorf("round %d, %s: %d events with sums %+v, want %d with %+v", round+1, name, r.Events, r.sums, events, want)
			}
			results[name] = append(results[name], r)
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, o.rounds)
	}
	return results, nil
}

func startServer(events, perSecond int) (url string, stop func(), err error) {
	cmd := exec.Command(os.Args[0], "-role", "server", "-events", strconv.Itoa(events), "-per-second", strconv.Itoa(perSecond))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, err
	}
	return "ws://" + strings.TrimSpace(line) + "/socket/websocket", stop, nil
}

func runOne(name, url string, events, perSecond int, o options) (r result, err error) {
	args := []string{"-role", "client", "-client", name, "-url", url, "-events", strconv.Itoa(events), "-per-second", strconv.Itoa(perSecond)}
	if name == "gapless" {
		args = append(args, "-cpuprofile", o.profile, "-memprofile", o.allocs, "-blockprofile", o.block)
	}
	cmd := exec.Command(os.Args[0], args...)
	if name == "realtime-js" {
		cmd = exec.Command("node", filepath.Join(jsDir(), "client.mjs"), url, strconv.Itoa(events), strconv.Itoa(perSecond))
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, err
	}
	return r, json.NewDecoder(bytes.NewReader(out)).Decode(&r)
}

// cpuModel names the machine's processor, as far as the system says.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer f.Close()
	text, _ := io.ReadAll(f) // what could be read will do
	_, rest, _ := strings.Cut(string(text), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimLeft(line, "\t :")
}

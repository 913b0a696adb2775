package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// result is what a client's process prints when it has the stream. The Node
// client prints the same.
type result struct {
	Events  int     `json:"events"`
	Seconds float64 `json:"seconds"` // from before it connects to the last event
	CPU     float64 `json:"cpu"`     // seconds, in the same time
	Allocs  float64 `json:"allocs"`  // in the same time; 0: not known
	Peak    float64 `json:"peak"`    // MiB of memory, the most there were
	Decodes bool    `json:"decodes"`
	sums
	P50 float64 `json:"p50"` // microseconds from the server's write; 0: not measured
	P99 float64 `json:"p99"`
}

// clients are the loops by name, in the order of a round. "realtime-js" is a
// program of its own.
var clients = []struct {
	name string
	run  func(url string, m *meter) error
}{
	{"read", readLoop},
	{"reader", readerLoop},
	{"goccy", goccyLoop},
	{"realtime-js", nil},
	{"gapless", gaplessLoop},
}

// meter counts what comes.
type meter struct {
	want      int
	got       int
	decodes   bool
	sums      sums
	latencies []int64 // nanoseconds; nil: not measured
}

// event takes an event that was decoded: the new row's, or, without the last
// two, the old one's.
func (m *meter) event(id, sentAt int64, total json.Number) error {
	m.got++
	if m.latencies != nil && sentAt != 0 {
		m.latencies = append(m.latencies, time.Now().UnixNano()-sentAt)
	}
	return m.sums.add(id, string(total))
}

func (m *meter) done() bool { return m.got == m.want }

// runClient runs a client in this process and prints its result.
func runClient(o options) error {
	m := &meter{want: o.events}
	if o.perSecond > 0 {
		m.latencies = make([]int64, 0, o.events)
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if o.block != "" {
		runtime.SetBlockProfileRate(1000) // nanoseconds
	}
	for _, c := range clients {
		if c.name != o.client {
			continue
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began, cpu := time.Now(), cpuTime()
		if err := c.run(o.url, m); err != nil {
			return err
		}
		r := result{Events: m.got, Seconds: time.Since(began).Seconds(), CPU: (cpuTime() - cpu).Seconds(), Decodes: m.decodes, sums: m.sums}
		runtime.ReadMemStats(&after)
		r.Allocs, r.Peak = float64(after.Mallocs-before.Mallocs), peakMemory()
		if len(m.latencies) > 0 {
			slices.Sort(m.latencies)
			r.P50, r.P99 = percentile(m.latencies, 50), percentile(m.latencies, 99)
		}
		return errors.Join(writeProfile("allocs", o.allocs), writeProfile("block", o.block), json.NewEncoder(os.Stdout).Encode(r))
	}
	return fmt.Errorf("no client %q", o.client)
}

func writeProfile(name, path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup(name).WriteTo(f, 0), f.Close())
}

func percentile(sorted []int64, p int) float64 {
	return float64(sorted[(len(sorted)-1)*p/100]) / 1000
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for no argument that is right
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMemory reads the high-water mark of this program's memory. That of
// getrusage is no less than what the process before exec had.
func peakMemory() float64 {
	status, _ := os.ReadFile("/proc/self/status") // 0 where there is none
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, _ := strconv.Atoi(strings.TrimSpace(rest[:strings.IndexByte(rest+"k", 'k')]))
	return float64(kb) / 1024
}

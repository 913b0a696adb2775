package main

import (
	"fmt"
	"io"
	"slices"
)

// median is over the rounds. It may be of a ratio, which is taken within each
// round.
func median(results []result, of func(i int, r result) float64) float64 {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = of(i, r)
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func rate(r result) float64     { return float64(r.Events) / r.Seconds }
func cpu(r result) float64      { return r.CPU / float64(r.Events) * 1e6 }
func perEvent(r result) float64 { return r.Allocs / float64(r.Events) }

func printFlood(w io.Writer, names []string, results map[string][]result) {
	base := results["read"]
	if base == nil {
		base = results[names[0]]
	}
	fmt.Fprintf(w, "\nflood of %d events, medians of %d rounds\n\n", base[0].Events, len(base))
	fmt.Fprintln(w, "| client | events/s | ratio | CPU µs/event | ratio | allocs/event | peak MiB | ratio | exact |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	want := expected(base[0].Events)
	for _, name := range names {
		list := results[name]
		m := func(of func(result) float64) float64 {
			return median(list, func(_ int, r result) float64 { return of(r) })
		}
		ratio := func(of func(result) float64) float64 {
			return median(list, func(i int, r result) float64 { return of(r) / of(base[i]) })
		}
		peak := func(r result) float64 { return r.Peak }
		allocs := "-"
		if list[0].Allocs > 0 {
			allocs = fmt.Sprintf("%.1f", m(perEvent))
		}
		fmt.Fprintf(w, "| %s | %.0f | %.2f | %.2f | %.2f | %s | %.0f | %.2f | %s |\n", name,
			m(rate), ratio(rate), m(cpu), ratio(cpu), allocs, m(peak), ratio(peak), exact(list[0], want))
	}
}

func exact(r result, want sums) string {
	switch {
	case !r.Decodes:
		return "-"
	case r.sums == want:
		return "yes"
	}
	return "no"
}

func printPaced(w io.Writer, names []string, results map[string][]result) {
	base := results["goccy"]
	if base == nil {
		base = results[names[0]]
	}
	fmt.Fprintf(w, "\n%d events at 1,000 a second, medians of %d rounds; from the server's write to the user's loop\n\n", base[0].Events, len(base))
	fmt.Fprintln(w, "| client | p50 µs | ratio | p99 µs | ratio | CPU µs/event |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- |")
	p50 := func(r result) float64 { return r.P50 }
	p99 := func(r result) float64 { return r.P99 }
	for _, name := range names {
		list := results[name]
		m := func(of func(result) float64) float64 {
			return median(list, func(_ int, r result) float64 { return of(r) })
		}
		ratio := func(of func(result) float64) float64 {
			return median(list, func(i int, r result) float64 { return of(r) / of(base[i]) })
		}
		fmt.Fprintf(w, "| %s | %.0f | %.2f | %.0f | %.2f | %.1f |\n", name, m(p50), ratio(p50), m(p99), ratio(p99), m(cpu))
	}
}

package main

import (
	"fmt"
	"io"
	"slices"
)

// median is over the rounds.
func median(results []result, of func(r result) float64) float64 {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = of(r)
	}
	return middle(values)
}

// middle sorts the values and returns their median.
func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// ratio is that of a client to the loop by hand of the same round: the median,
// the least and the most.
func ratio(results, base []result, of func(r result) float64) string {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = of(r) / of(base[i])
	}
	m := middle(values)
	return fmt.Sprintf("%.2f (%.2f to %.2f)", m, values[0], values[len(values)-1])
}

// baseOf returns the results that ratios are to: those of the loop by hand.
func baseOf(names []string, results map[string][]result) []result {
	if base := results["goccy"]; base != nil {
		return base
	}
	return results[names[0]]
}

func rate(r result) float64     { return float64(r.Events) / r.Seconds }
func cpu(r result) float64      { return r.CPU / float64(r.Events) * 1e6 }
func perEvent(r result) float64 { return r.Allocs / float64(r.Events) }

func printFlood(w io.Writer, names []string, results map[string][]result) {
	base := baseOf(names, results)
	fmt.Fprintf(w, "\nflood of %d events, medians of %d rounds; ratios to goccy in the same round, with the least and the most\n\n", base[0].Events, len(base))
	fmt.Fprintln(w, "| client | events/s | ratio | CPU µs/event | ratio | allocs/event | peak MiB | exact |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- |")
	want := expected(base[0].Events)
	for _, name := range names {
		list := results[name]
		allocs := "-"
		if list[0].Allocs > 0 {
			allocs = fmt.Sprintf("%.1f", median(list, perEvent))
		}
		fmt.Fprintf(w, "| %s | %.0f | %s | %.2f | %s | %s | %.0f | %s |\n", name, median(list, rate), ratio(list, base, rate),
			median(list, cpu), ratio(list, base, cpu), allocs, median(list, func(r result) float64 { return r.Peak }), exact(list[0], want))
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
	base := baseOf(names, results)
	fmt.Fprintf(w, "\n%d events at 1,000 a second, medians of %d rounds; from the server's write to the user's loop\n\n", base[0].Events, len(base))
	fmt.Fprintln(w, "| client | p50 µs | ratio | p99 µs | ratio | CPU µs/event |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- |")
	p50 := func(r result) float64 { return r.P50 }
	p99 := func(r result) float64 { return r.P99 }
	for _, name := range names {
		list := results[name]
		fmt.Fprintf(w, "| %s | %.0f | %s | %.0f | %s | %.1f |\n", name, median(list, p50), ratio(list, base, p50), median(list, p99), ratio(list, base, p99), median(list, cpu))
	}
}

package fault

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Scheduled is a fault and the time from the beginning of its schedule at
// which it is injected.
type Scheduled struct {
	At time.Duration
	Fault
}

// String is the fault as it may be printed with a test that failed.
func (f Scheduled) String() string { return fmt.Sprintf("%v %s %s", f.At, f.Name, f.Params) }

// scheduledJSON is a Scheduled in JSON.
type scheduledJSON struct {
	At     Span            `json:"at"`
	Name   string          `json:"name"`
	Params json.RawMessage `json:"params,omitempty"`
}

// MarshalJSON writes {"at":"1.5s","name":…,"params":…}.
func (f Scheduled) MarshalJSON() ([]byte, error) {
	return json.Marshal(scheduledJSON{Span(f.At), f.Name, f.Params})
}

// UnmarshalJSON reads what MarshalJSON writes; "at" may be in milliseconds,
// too.
func (f *Scheduled) UnmarshalJSON(raw []byte) error {
	var s scheduledJSON
	if err := ReadParams(raw, &s); err != nil {
		return err
	}
	*f = Scheduled{time.Duration(s.At), Fault{s.Name, s.Params}}
	return nil
}

// Random returns a schedule of n faults within a time, in order, and
// always the same for the same arguments and version of this package. Those that
// do not end by themselves are ended by a further entry each, within that time,
// but for faults of the REST API, of which each meets a few requests. The names
// say which faults to choose from; without names: all but those that change the
// tables, the publication or who may see what. The error is a *Error: there
// is no such fault, or its parameters cannot be made up.
func Random(seed uint64, n int, within time.Duration, names ...string) ([]Scheduled, error) {
	chosen, err := randomKinds(names)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(seed, StreamSchedules))
	var schedule []Scheduled
	for range n {
		k := chosen[r.IntN(len(chosen))]
		at := time.Duration(between(r, 0, within))
		schedule = append(schedule, Scheduled{at, Fault{k.info.Name, k.random(r)}})
		end := at + time.Duration(between(r, 0, within-at))
		if k.info.Undo != nil {
			schedule = append(schedule, Scheduled{end, Fault{k.info.Name, k.info.Undo}})
		}
	}
	slices.SortStableFunc(schedule, func(a, b Scheduled) int { return cmp.Compare(a.At, b.At) })
	return schedule, nil
}

// randomKinds returns the faults of these names, or those that a schedule has
// by default.
func randomKinds(names []string) (chosen []*kind, err error) {
	for _, name := range names {
		k, err := kindOf(name)
		if err == nil && k.random == nil {
			err = errors.New("it needs parameters that nobody can make up")
		}
		if err != nil {
			return nil, &Error{name, err}
		}
		chosen = append(chosen, k)
	}
	for i := range kinds {
		if k := &kinds[i]; len(names) == 0 && k.random != nil {
			chosen = append(chosen, k)
		}
	}
	return chosen, nil
}

// ErrClosed ends a schedule whose server is closed.
var ErrClosed = errors.New("mockserver: the server is closed")

// between returns a random duration, in whole milliseconds, since whoever reads
// a schedule likes short numbers.
func between(r *rand.Rand, low, high time.Duration) Span {
	if high <= low {
		return Span(low)
	}
	return Span((low + time.Duration(r.Int64N(int64(high-low)))).Truncate(time.Millisecond))
}

func pick[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

func nothing(*rand.Rand) any { return noParams{} }

func once(*rand.Rand) any { return timesParams{1} }

func few(r *rand.Rand) any { return tableTimesParams{Times: 1 + r.IntN(3)} }

// randomRESTFault makes one of the ways in which the REST API fails.
func randomRESTFault(r *rand.Rand) any {
	p := restParams{Times: 1 + r.IntN(3)}
	switch r.IntN(6) {
	case 0:
		p.Before = between(r, 0, 5*time.Second)
	case 1:
		p.After = between(r, 0, 5*time.Second)
	case 2:
		p.Stale = between(r, time.Second, 10*time.Second)
	case 3:
		p.Cut = true
	case 4:
		p.Status, p.Header, p.Body = 502, map[string]string{"Content-Type": "text/html"}, "<html><body>Bad Gateway</body></html>"
	default:
		p.Status, p.Body = pick(r, 429, 500, 503), `{"message":"it was made to fail"}`
	}
	return p
}

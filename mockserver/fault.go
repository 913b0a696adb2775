package mockserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// Fault is something that goes wrong, asked for by its name: every method of
// Server that makes things go wrong has one, so that a schedule, or a test in
// another language, can ask for it, too. Server.Faults lists them.
type Fault struct {
	Name string `json:"name"`
	// Params is a JSON object. What it leaves out has the default that
	// Server.Faults gives; empty: all of it. Durations are strings such as
	// "1.5s" or "200ms", or numbers of milliseconds.
	Params json.RawMessage `json:"params,omitempty"`
}

// FaultInfo describes a fault that can be asked for.
type FaultInfo struct {
	Name string `json:"name"`
	Doc  string `json:"doc"` // a sentence that has the fault as its subject
	// Loss is which of the twelve ways in which Realtime loses changes it is,
	// "L1" to "L12"; empty: none. The fault also goes by that name, if it is the
	// first of those.
	Loss string `json:"loss,omitempty"`
	// Silent says that no message tells a client of it.
	Silent bool         `json:"silent"`
	Params []FaultParam `json:"params"`
	// Undo is the parameters that end the fault; nil: it ends by itself.
	Undo json.RawMessage `json:"undo,omitempty"`
}

// FaultParam describes one member of Fault.Params.
type FaultParam struct {
	Name    string          `json:"name"`
	Type    string          `json:"type"` // string, integer, boolean, duration or object
	Default json.RawMessage `json:"default"`
	Doc     string          `json:"doc"`
}

// ErrUnknownFault says that there is no fault of a name.
var ErrUnknownFault = errors.New("there is no such fault")

// FaultError says which fault could not be injected, and why: ErrUnknownFault,
// or what is wrong with its parameters.
type FaultError struct {
	Fault string
	Err   error
}

func (e *FaultError) Error() string { return fmt.Sprintf("mockserver: fault %q: %v", e.Fault, e.Err) }

// Unwrap returns Err.
func (e *FaultError) Unwrap() error { return e.Err }

// Faults lists the faults that Inject knows.
func (s *Server) Faults() []FaultInfo {
	all := make([]FaultInfo, len(faultKinds))
	for i, k := range faultKinds {
		all[i] = k.info
	}
	return all
}

// Inject makes something go wrong, as the method of Server does that the fault
// stands for. It returns at once and is safe for concurrent use. The error is a
// *FaultError, and nothing has been done then.
func (s *Server) Inject(f Fault) error {
	k, err := kindOf(f.Name)
	if err == nil {
		err = k.inject(s, f.Params)
	}
	if err != nil {
		return &FaultError{f.Name, err}
	}
	s.realtime.tap.note(0, "fault", "%s %s", f.Name, f.Params)
	return nil
}

// faultKind is a fault that can be asked for.
type faultKind struct {
	info   FaultInfo
	inject func(s *Server, params json.RawMessage) error
	random func(r *rand.Rand) json.RawMessage // makes parameters; nil: the fault is in no random schedule
}

// kindOf finds the fault of a name.
func kindOf(name string) (*faultKind, error) {
	for i := range faultKinds {
		if k := &faultKinds[i]; k.info.Name == name || k.info.Loss == name && name != "" {
			return k, nil
		}
	}
	return nil, ErrUnknownFault
}

// newFault makes a kind whose parameters are a P, by default as given.
func newFault[P any](name, doc string, byDefault P, do func(*Server, P) error) faultKind {
	return faultKind{
		info: FaultInfo{Name: name, Doc: doc, Params: describeParams(byDefault)},
		inject: func(s *Server, raw json.RawMessage) error {
			p := byDefault
			if err := readParams(raw, &p); err != nil {
				return err
			}
			return do(s, p)
		},
	}
}

// always makes an injection of what cannot fail.
func always[P any](do func(*Server, P)) func(*Server, P) error {
	return func(s *Server, p P) error {
		do(s, p)
		return nil
	}
}

// loses says which loss the fault is, and whether a client is told.
func (k faultKind) loses(loss string) faultKind   { k.info.Loss = loss; return k }
func (k faultKind) silently() faultKind           { k.info.Silent = true; return k }
func (k faultKind) undoneBy(params any) faultKind { k.info.Undo = rawjson.Must(params); return k }

// at puts the fault into random schedules, with parameters made by f.
func (k faultKind) at(f func(r *rand.Rand) any) faultKind {
	k.random = func(r *rand.Rand) json.RawMessage { return rawjson.Must(f(r)) }
	return k
}

// readParams reads parameters over their defaults.
func readParams(raw json.RawMessage, p any) error {
	if !rawjson.Present(raw) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(p); err != nil {
		return fmt.Errorf("its parameters: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("its parameters: there is more behind the object")
	}
	return nil
}

// describeParams describes the fields of a struct of parameters.
func describeParams(p any) []FaultParam {
	params := []FaultParam{}
	v := reflect.ValueOf(p)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		params = append(params, FaultParam{name, paramType(field.Type), rawjson.Must(v.Field(i).Interface()), field.Tag.Get("doc")})
	}
	return params
}

func paramType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[span]():
		return "duration"
	case t.Kind() == reflect.Int:
		return "integer"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Map:
		return "object"
	}
	return "string"
}

// span is a duration in JSON: a string such as "1.5s", or milliseconds.
type span time.Duration

// maxSpan is the longest that a fault may be asked to last.
const maxSpan = 24 * time.Hour

func (d span) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON refuses what no fault may last.
func (d *span) UnmarshalJSON(raw []byte) error {
	var ms float64
	parsed, err := time.Duration(0), error(nil)
	if s, isText := rawjson.Text(raw); isText {
		parsed, err = time.ParseDuration(s)
	} else if err = json.Unmarshal(raw, &ms); err == nil && ms <= float64(maxSpan.Milliseconds()) {
		parsed = time.Duration(ms * float64(time.Millisecond))
	} else if err == nil {
		parsed = maxSpan + 1
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s is no duration, such as \"1.5s\" or 1500 for milliseconds", raw)
	case parsed < 0 || parsed > maxSpan:
		return fmt.Errorf("%s is not between 0 and %v", raw, maxSpan)
	}
	*d = span(parsed)
	return nil
}

// target says which sockets and channels a fault is about.
type target struct {
	socket int    // its number; 0: every one
	topic  string // empty: every one
}

// sockets returns the open sockets that the fault is about.
func (t target) sockets(rt *realtime) ([]*conn, error) {
	all := rt.sockets()
	if t.socket == 0 {
		return all, nil
	}
	i := slices.IndexFunc(all, func(c *conn) bool { return c.id == t.socket })
	if i < 0 {
		return nil, fmt.Errorf("there is no socket %d", t.socket)
	}
	return all[i : i+1], nil
}

// eachSocket runs do for each socket.
func (t target) eachSocket(rt *realtime, do func(c *conn)) error {
	conns, err := t.sockets(rt)
	for _, c := range conns {
		do(c)
	}
	return err
}

// eachChannel runs do for each channel, on the process of its socket.
func (t target) eachChannel(rt *realtime, do func(ch *channel)) error {
	return t.eachSocket(rt, func(c *conn) {
		c.post(0, func() {
			for _, ch := range c.channels {
				if t.topic == "" || t.topic == ch.topic || t.topic == ch.name {
					do(ch)
				}
			}
		})
	})
}

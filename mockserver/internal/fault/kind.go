package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
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

// Info describes a fault that can be asked for.
type Info struct {
	Name string `json:"name"`
	Doc  string `json:"doc"` // a sentence that has the fault as its subject
	// Loss is which of the twelve ways in which Realtime loses changes it is,
	// "L1" to "L12"; empty: none. The fault also goes by that name, if it is the
	// first of those.
	Loss string `json:"loss,omitempty"`
	// Silent says that no message tells a client of it.
	Silent bool    `json:"silent"`
	Params []Param `json:"params"`
	// Undo is the parameters that end the fault; nil: it ends by itself.
	Undo json.RawMessage `json:"undo,omitempty"`
}

// Param describes one member of Fault.Params.
type Param struct {
	Name    string          `json:"name"`
	Type    string          `json:"type"` // string, integer, boolean, duration or object
	Default json.RawMessage `json:"default"`
	Doc     string          `json:"doc"`
}

// ErrUnknown says that there is no fault of a name.
var ErrUnknown = errors.New("there is no such fault")

// Error says which fault could not be injected, and why: ErrUnknown,
// or what is wrong with its parameters.
type Error struct {
	Fault string
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("mockserver: fault %q: %v", e.Fault, e.Err) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Infos describes the faults that Inject knows.
func Infos() []Info {
	all := make([]Info, len(kinds))
	for i, k := range kinds {
		all[i] = k.info
	}
	return all
}

// Inject does a fault to a project. The error is an *Error, and nothing has been
// done then.
func Inject(on Project, f Fault) error {
	k, err := kindOf(f.Name)
	if err == nil {
		err = k.inject(on, f.Params)
	}
	if err != nil {
		return &Error{f.Name, err}
	}
	return nil
}

// kind is a fault that can be asked for.
type kind struct {
	info   Info
	inject func(on Project, params json.RawMessage) error
	random func(r *rand.Rand) json.RawMessage // makes parameters; nil: the fault is in no random schedule
}

// kindOf finds the fault of a name.
func kindOf(name string) (*kind, error) {
	for i := range kinds {
		if k := &kinds[i]; k.info.Name == name || k.info.Loss == name && name != "" {
			return k, nil
		}
	}
	return nil, ErrUnknown
}

// newKind makes a kind whose parameters are a P, by default as given.
func newKind[P any](name, doc string, byDefault P, do func(Project, P) error) kind {
	return kind{
		info: Info{Name: name, Doc: doc, Params: describeParams(byDefault)},
		inject: func(s Project, raw json.RawMessage) error {
			p := byDefault
			if err := ReadParams(raw, &p); err != nil {
				return err
			}
			return do(s, p)
		},
	}
}

// The injections of what cannot fail, by their parameters.
func always[P any](do func(Project, P)) func(Project, P) error {
	return func(s Project, p P) error {
		do(s, p)
		return nil
	}
}

func plain(do func(Project)) func(Project, noParams) error {
	return always(func(s Project, _ noParams) { do(s) })
}

func by(do func(Project, time.Duration)) func(Project, byParams) error {
	return always(func(s Project, p byParams) { do(s, time.Duration(p.By)) })
}

func lasting(do func(Project, time.Duration)) func(Project, forParams) error {
	return always(func(s Project, p forParams) { do(s, time.Duration(p.For)) })
}

func times(do func(Project, int)) func(Project, timesParams) error {
	return always(func(s Project, p timesParams) { do(s, p.Times) })
}

func withReason(do func(Project, string, int)) func(Project, reasonParams) error {
	return always(func(s Project, p reasonParams) { do(s, p.Reason, p.Times) })
}

// loses says which loss the fault is, and whether a client is told.
func (k kind) loses(loss string) kind   { k.info.Loss = loss; return k }
func (k kind) silently() kind           { k.info.Silent = true; return k }
func (k kind) undoneBy(params any) kind { k.info.Undo = rawjson.Must(params); return k }

// at puts the fault into random schedules, with parameters made by f.
func (k kind) at(f func(r *rand.Rand) any) kind {
	k.random = func(r *rand.Rand) json.RawMessage { return rawjson.Must(f(r)) }
	return k
}

// ReadParams reads parameters over their defaults.
func ReadParams(raw json.RawMessage, p any) error {
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
func describeParams(p any) []Param {
	params := []Param{}
	v := reflect.ValueOf(p)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		params = append(params, Param{name, paramType(field.Type), rawjson.Must(v.Field(i).Interface()), field.Tag.Get("doc")})
	}
	return params
}

func paramType(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Span]():
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

// Span is a duration in JSON: a string such as "1.5s", or milliseconds.
type Span time.Duration

// maxSpan is the longest that a fault may be asked to last.
const maxSpan = 24 * time.Hour

func (d Span) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON refuses what no fault may last.
func (d *Span) UnmarshalJSON(raw []byte) error {
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
	*d = Span(parsed)
	return nil
}

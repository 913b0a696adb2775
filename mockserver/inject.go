package mockserver

import (
	"cmp"
	"context"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/inspect"
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
)

// Faults lists the faults that Inject knows.
func (s *Server) Faults() []FaultInfo { return fault.Infos() }

// Inject makes something go wrong, as the method of Server does that the fault
// stands for. It returns at once and is safe for concurrent use. The error is a
// *FaultError, and nothing has been done then.
func (s *Server) Inject(f Fault) error {
	if err := fault.Inject(inner{s}, f); err != nil {
		return err
	}
	s.tap.Note(0, "fault", "%s %s", f.Name, f.Params)
	return nil
}

// RandomFaults returns a schedule of n faults within a time, in order, and
// always the same for the same arguments and version of this package. Those that
// do not end by themselves are ended by a further entry each, within that time,
// but for faults of the REST API, of which each meets a few requests. The names
// say which faults to choose from; without names: all but those that change the
// tables, the publication or who may see what. The error is a *FaultError: there
// is no such fault, or its parameters cannot be made up.
func RandomFaults(seed uint64, n int, within time.Duration, names ...string) ([]ScheduledFault, error) {
	return fault.Random(seed, n, within, names...)
}

// Play injects faults, each at its time from now on, in the order of the
// schedule. It returns when all are injected, with the first error, or when ctx
// ends, with its cause, or when the server is closed.
func (s *Server) Play(ctx context.Context, schedule []ScheduledFault) error {
	start := time.Now()
	for _, f := range schedule {
		if !s.realtime.Pause(ctx, time.Until(start.Add(f.At))) {
			return cmp.Or(context.Cause(ctx), fault.ErrClosed)
		}
		if err := s.Inject(f.Fault); err != nil {
			return err
		}
	}
	return nil
}

// inner is a Server to faults and to the inspector, which take sockets one by
// one.
type inner struct{ *Server }

func (s inner) State() *fault.State                   { return &s.realtime.Faults }
func (s inner) FullName(table string) (string, error) { return s.db.FullName(table) }
func (s inner) HideRows(table string, where map[string]any) error {
	return s.Server.HideRows(table, where)
}
func (s inner) EachSocket(n int, do func(fault.Socket)) error { return s.realtime.EachSocket(n, do) }
func (s inner) Go(do func()) bool                             { return s.realtime.Go(do) }
func (s inner) Context() context.Context                      { return s.realtime.Context() }

func (s inner) EachChannel(socket int, topic string, do func(fault.Channel)) error {
	return s.realtime.EachChannel(socket, topic, do)
}

func (s inner) AddRESTFault(wanted fault.REST) {
	s.rest.Faults.Add(wanted)
	s.db.KeepPast(s.rest.Faults.Stale())
}

func (s inner) RunStatement(do func(tx inspect.Tx) error) error {
	return s.db.RunStatement(func(tx *memdb.Tx) error { return do(tx) })
}

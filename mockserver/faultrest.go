package mockserver

import "github.com/gapless-go/gapless/mockserver/internal/rest"

// FaultREST makes requests to the REST API go wrong, in the place of what was
// asked for before; without arguments nothing goes wrong any more. Of several
// faults that fit a request, the first one that is not used up meets it, and
// no other. Requests that wait end with Close.
func (s *Server) FaultREST(faults ...rest.Fault) {
	s.rest.Faults.Set(faults)
	s.db.KeepPast(s.rest.Faults.Stale())
}

// addRESTFault makes requests go wrong that meet no other fault.
func (s *Server) addRESTFault(wanted rest.Fault) {
	s.rest.Faults.Add(wanted)
	s.db.KeepPast(s.rest.Faults.Stale())
}

// LimitRows makes one answer of the REST API hold no more than n rows, as with
// a project whose setting db-max-rows is lower than one thinks; 0: as many as
// Config.MaxRows says.
func (s *Server) LimitRows(n int) {
	s.rest.Faults.LimitRows(n)
}

package mockserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// admin serves /mock/v1/, which the package's documentation describes. There is
// no key to it: whoever reaches the address may do all of it, but for web pages
// of other origins.
type admin struct {
	s *Server

	mu   sync.Mutex
	stop context.CancelFunc // of the schedule that is played, or nil
}

// routes returns the handler of what stands below /mock/v1/.
func (a *admin) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(*http.Request) (any, error){
		"GET /mock/v1/faults":                   a.faults,
		"POST /mock/v1/faults":                  a.inject,
		"POST /mock/v1/heal":                    a.heal,
		"POST /mock/v1/schedule":                a.play,
		"DELETE /mock/v1/schedule":              a.stopPlaying,
		"GET /mock/v1/sockets":                  a.sockets,
		"DELETE /mock/v1/sockets/{socket}":      a.kill,
		"GET /mock/v1/tables":                   a.tables,
		"GET /mock/v1/tables/{table}/rows":      a.rows,
		"POST /mock/v1/tables/{table}/rows":     a.insert,
		"PATCH /mock/v1/tables/{table}/rows":    a.update,
		"DELETE /mock/v1/tables/{table}/rows":   a.delete,
		"POST /mock/v1/tables/{table}/truncate": a.truncate,
		"POST /mock/v1/transactions":            a.transaction,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, front.MaxBody)
			answerAdmin(w, r, serve)
		})
	}
	return http.NewCrossOriginProtection().Handler(mux)
}

// errNotFound is wrapped by errors that are answered with 404.
var errNotFound = errors.New("not found")

// answerAdmin answers with what serve returns: nothing for nil.
func answerAdmin(w http.ResponseWriter, r *http.Request, serve func(*http.Request) (any, error)) {
	answer, err := serve(r)
	var tooLarge *http.MaxBytesError
	var pg *pgtype.Error
	switch {
	case err == nil && answer == nil:
		w.WriteHeader(http.StatusNoContent)
	case err == nil:
		front.WriteJSON(w, http.StatusOK, answer)
	case errors.As(err, &tooLarge):
		front.WriteJSON(w, http.StatusRequestEntityTooLarge, adminError{Error: err.Error()})
	case errors.Is(err, errNotFound), errors.Is(err, ErrUnknownFault):
		front.WriteJSON(w, http.StatusNotFound, adminError{Error: err.Error()})
	case errors.As(err, &pg):
		front.WriteJSON(w, http.StatusBadRequest, adminError{err.Error(), pg.Code})
	default:
		front.WriteJSON(w, http.StatusBadRequest, adminError{Error: err.Error()})
	}
}

type adminError struct {
	Error string `json:"error"`
	Code  string `json:"code,omitempty"` // PostgreSQL's
}

// readAdmin reads the body, which must be one JSON value of the form of v.
func readAdmin(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the body: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body: there is more behind the JSON value")
	}
	return nil
}

func (a *admin) faults(*http.Request) (any, error) { return a.s.Faults(), nil }

func (a *admin) inject(r *http.Request) (any, error) {
	var f Fault
	if err := readAdmin(r, &f); err != nil {
		return nil, err
	}
	return nil, a.s.Inject(f)
}

func (a *admin) heal(r *http.Request) (any, error) {
	_, _ = a.stopPlaying(r)
	a.s.Heal()
	return nil, nil
}

// play begins to play a schedule. Its goroutine ends with the schedule, when
// another one takes its place, or with the server.
func (a *admin) play(r *http.Request) (any, error) {
	var wanted struct {
		Faults []ScheduledFault `json:"faults"`
		Seed   uint64           `json:"seed"`
		N      int              `json:"n"`
		Within span             `json:"within"`
		Names  []string         `json:"names"`
	}
	if err := readAdmin(r, &wanted); err != nil {
		return nil, err
	}
	schedule := wanted.Faults
	if schedule == nil {
		if wanted.N < 0 || wanted.N > maxScheduled {
			return nil, fmt.Errorf("n is not between 0 and %d", maxScheduled)
		}
		var err error
		if schedule, err = RandomFaults(wanted.Seed, wanted.N, time.Duration(wanted.Within), wanted.Names...); err != nil {
			return nil, err
		}
	}
	if !a.start(schedule) {
		return nil, errServerClosed
	}
	return append([]ScheduledFault{}, schedule...), nil
}

// maxScheduled bounds the random schedules that can be asked for.
const maxScheduled = 100_000

func (a *admin) start(schedule []ScheduledFault) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.s.realtime.enter() {
		return false
	}
	if a.stop != nil {
		a.stop()
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	go func() {
		defer a.s.realtime.wg.Done()
		if err := a.s.Play(ctx, schedule); err != nil {
			a.s.log.Info("the schedule of faults ended", "error", err)
		}
	}()
	return true
}

func (a *admin) stopPlaying(*http.Request) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stop != nil {
		a.stop()
	}
	return nil, nil
}

func (a *admin) sockets(*http.Request) (any, error) { return a.s.Connections(), nil }

func (a *admin) kill(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("socket"))
	if err != nil || id <= 0 {
		return nil, fmt.Errorf("there is no socket %q: %w", r.PathValue("socket"), errNotFound)
	}
	if err := (target{socket: id}).eachSocket(a.s.realtime, func(c *conn) { c.kill() }); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errNotFound)
	}
	return nil, nil
}

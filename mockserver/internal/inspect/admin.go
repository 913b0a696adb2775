package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Server is what the inspector and the admin API need of the mock server.
type Server interface {
	URL() string
	Connections() []Connection
	EachSocket(number int, do func(fault.Socket)) error
	Heal()
	Inject(f fault.Fault) error
	Play(ctx context.Context, schedule []fault.Scheduled) error
	Truncate(table string) error
	// RunStatement runs do in a transaction, again where another one was in its way.
	RunStatement(do func(tx Tx) error) error
	// Go runs do on a goroutine that the server waits for; false: it is closed.
	Go(do func()) bool
	// Context ends when the server is closed.
	Context() context.Context
}

// Tx is a transaction of Server.
type Tx interface {
	Insert(table string, rows ...project.Row) error
	Update(table string, set, where project.Row) (int, error)
	Delete(table string, where project.Row) (int, error)
}

// Admin serves /mock/v1/, which docs/mock.md describes. There is no key to it:
// whoever reaches the address may do all of it, but for web pages of other origins.
type Admin struct {
	Server Server
	DB     project.Database
	Log    *slog.Logger

	mu   sync.Mutex
	stop context.CancelFunc // of the schedule that is played, or nil
}

// Routes returns the handler of what stands below /mock/v1/.
func (a *Admin) Routes() http.Handler {
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
	case errors.Is(err, errNotFound), errors.Is(err, fault.ErrUnknown):
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

func (a *Admin) faults(*http.Request) (any, error) { return fault.Infos(), nil }

func (a *Admin) inject(r *http.Request) (any, error) {
	var f fault.Fault
	if err := readAdmin(r, &f); err != nil {
		return nil, err
	}
	return nil, a.Server.Inject(f)
}

func (a *Admin) heal(r *http.Request) (any, error) {
	_, _ = a.stopPlaying(r)
	a.Server.Heal()
	return nil, nil
}

// play begins to play a schedule. Its goroutine ends with the schedule, when
// another one takes its place, or with the server.
func (a *Admin) play(r *http.Request) (any, error) {
	var wanted struct {
		Faults []fault.Scheduled `json:"faults"`
		Seed   uint64            `json:"seed"`
		N      int               `json:"n"`
		Within fault.Span        `json:"within"`
		Names  []string          `json:"names"`
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
		if schedule, err = fault.Random(wanted.Seed, wanted.N, time.Duration(wanted.Within), wanted.Names...); err != nil {
			return nil, err
		}
	}
	if !a.start(schedule) {
		return nil, fault.ErrClosed
	}
	return append([]fault.Scheduled{}, schedule...), nil
}

// maxScheduled bounds the random schedules that can be asked for.
const maxScheduled = 100_000

func (a *Admin) start(schedule []fault.Scheduled) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stop != nil {
		a.stop()
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	return a.Server.Go(func() {
		if err := a.Server.Play(ctx, schedule); err != nil {
			a.Log.Info("the schedule of faults ended", "error", err)
		}
	})
}

func (a *Admin) stopPlaying(*http.Request) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stop != nil {
		a.stop()
	}
	return nil, nil
}

func (a *Admin) sockets(*http.Request) (any, error) { return a.Server.Connections(), nil }

func (a *Admin) kill(r *http.Request) (any, error) {
	id, err := strconv.Atoi(r.PathValue("socket"))
	if err != nil || id <= 0 {
		return nil, fmt.Errorf("there is no socket %q: %w", r.PathValue("socket"), errNotFound)
	}
	if err := a.Server.EachSocket(id, fault.Socket.Kill); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errNotFound)
	}
	return nil, nil
}

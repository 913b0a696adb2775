package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gapless-go/gapless/examples/internal/again"
	"github.com/gapless-go/gapless/realtime"
)

// Table reads the outbox over the project's REST API. It is safe for concurrent
// use.
type Table struct {
	Client   *realtime.Client
	Name     string
	PageSize int // the server may give fewer
	Log      *slog.Logger
}

const (
	eventColumns = "id,customer_id,order_id,status,at"
	maxAnswer    = 64 << 20
	answerIn     = 30 * time.Second
)

// Behind is as Reader says. What passes is tried again until ctx ends.
func (t *Table) Behind(ctx context.Context, p Place) (rows []Event, err error) {
	at := p.At.UTC().Format(time.RFC3339Nano)
	address := "/rest/v1/" + t.Name + "?" + url.Values{
		"select": {eventColumns}, "order": {"at.asc,id.asc"}, "limit": {strconv.Itoa(t.PageSize)},
		"or": {fmt.Sprintf(`(at.gt."%s",and(at.eq."%s",id.gt.%d))`, at, at, p.ID)},
	}.Encode()
	for n := 0; ; n++ {
		if rows, err = t.once(ctx, address); err == nil {
			return rows, nil
		}
		if refused(err) || realtime.IsPermanent(err) {
			return nil, fmt.Errorf("table %s: %w", t.Name, err)
		}
		t.Log.Debug("the outbox cannot be read", "error", err)
		if err := again.Sleep(ctx, again.Jitter(n, 100*time.Millisecond, 10*time.Second)); err != nil {
			return nil, err
		}
	}
}

// Forget removes a device that is gone.
func (t *Table) Forget(ctx context.Context, d Device) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, fmt.Sprintf("/rest/v1/devices?id=eq.%d", d.ID), nil)
	if err != nil {
		return err
	}
	_, err = t.do(r)
	return err
}

func (t *Table) once(ctx context.Context, address string) (rows []Event, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	body, err := t.do(r)
	if err == nil {
		err = json.Unmarshal(body, &rows)
	}
	return rows, err
}

func (t *Table) do(r *http.Request) ([]byte, error) {
	answer, err := t.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil && answer.StatusCode >= 300 {
		err = &StatusError{answer.StatusCode}
	}
	return body, err
}

// StatusError is an answer with a status that is no success.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
}

// Passes reports whether another try may be answered otherwise: it is the
// server's fault, or there are too many, or the token has expired on its way.
func (e *StatusError) Passes() bool {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return e.Status >= 500
}

func refused(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && !status.Passes()
}

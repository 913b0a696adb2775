// Package site serves the examples' web pages.
package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"

	"github.com/gapless-go/gapless/internal/origin"
)

// named is a listener that knows the host of the address that it was given.
type named struct {
	net.Listener
	host string
}

// Listen opens a page's address, as the flag -addr gives it.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	var busy *net.OpError
	if errors.As(err, &busy) {
		return nil, fmt.Errorf("the page's address cannot be used: %w (choose another one with -addr)", err)
	}
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(addr) // else Listen had an error
	return named{l, host}, nil
}

// Serve serves on a listener until ctx ends, and returns its error. Handlers
// that stream must end with ctx too; what goes on for a second is cut off. A request
// whose Host is another one than this machine's, or that of Listen, is refused: it
// comes from a page of a site whose name was made to resolve to this address.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	at, _ := l.(named)
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !origin.IsOwnHost(r.Host, at.host) {
			http.Error(w, "the request is for another host", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
	server := &http.Server{Handler: own, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }() // until Shutdown or Close below
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(patience) != nil {
		_ = server.Close()
	}
	<-ended
	return ctx.Err()
}

// Protect lets no other site that somebody has open press the page's buttons,
// and has the page use nothing but what comes from here.
func Protect(h http.Handler) http.Handler {
	own := http.NewCrossOriginProtection().Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		own.ServeHTTP(w, r)
	})
}

// Show answers with a page of the program's own: a template that fails is a bug.
func Show(w http.ResponseWriter, page *template.Template, data any) {
	var html bytes.Buffer
	if err := page.Execute(&html, data); err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(html.Bytes()) // an error: the browser is gone
}

// tellPatience is how long a browser may take to read what it is told.
const tellPatience = 10 * time.Second

// Tell sends a browser server-sent events, which are to be lines of JSON. It
// holds nothing back, so that a first call, with events or without, opens the
// stream.
func Tell(w http.ResponseWriter, events ...[]byte) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(tellPatience)) // a test's recorder has none
	w.Header().Set("Content-Type", "text/event-stream")
	for _, e := range events {
		if _, err := fmt.Fprintf(w, "data: %s\n\n", e); err != nil {
			return err
		}
	}
	return control.Flush()
}

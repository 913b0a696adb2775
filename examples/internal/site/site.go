// Package site serves the examples' web pages.
package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Listen opens a page's address, as the flag -addr gives it.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	var busy *net.OpError
	if errors.As(err, &busy) {
		return nil, fmt.Errorf("the page's address cannot be used: %w (choose another one with -addr)", err)
	}
	return l, err
}

// Serve serves on a listener until ctx ends, and returns its error. Handlers
// that stream must end with ctx too; what goes on for a second is cut off.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
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

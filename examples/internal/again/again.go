// Package again says how long an example waits before it asks a server again.
package again

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// After reads the header Retry-After, which has seconds or a date: how long not to ask
// again. 0: it asks for nothing.
func After(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// Jitter is the wait behind attempt n, counted from 0: uniform between nothing and
// a bound that doubles. It spreads a crowd of clients that lost the same server.
func Jitter(n int, least, most time.Duration) time.Duration {
	return rand.N(min(least<<min(n, 10), most))
}

// Sleep returns the context's error if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/examples/internal/pagetest"
	"github.com/gapless-go/gapless/examples/internal/site"
)

// The program starts with no flags, prints where its page is, serves it, and
// ends when it is interrupted.
func TestRunDemo(t *testing.T) {
	s, _, err := parse("-addr 127.0.0.1:0 -rate 50", nil)
	require.NoError(t, err)
	s.maxRows = 500
	ctx, interrupt := context.WithCancel(context.Background())
	var out, log pagetest.Output
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, s, &out, slog.New(slog.NewTextHandler(&log, nil))) }()
	require.Eventually(t, func() bool {
		return regexp.MustCompile(`(?m)^snapshot: (49|50)\d rows in`).MatchString(out.String())
	}, patience, 20*time.Millisecond, &out)
	address := regexp.MustCompile(`http://127.0.0.1:\d+`).FindString(out.String())
	answer, err := http.Get(address + "/search?q=tar+header")
	require.NoError(t, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Contains(t, string(text), "A Header represents a single header in a tar archive.")
	http.DefaultClient.CloseIdleConnections()
	interrupt()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.NotContains(t, out.String()+log.String(), "eyJ", "a token")
}

func TestRunOfAnAddressThatIsTaken(t *testing.T) {
	l, err := site.Listen("127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	s, _, err := parse("-addr "+l.Addr().String(), nil)
	require.NoError(t, err)
	require.ErrorContains(t, run(t.Context(), s, io.Discard, slog.New(slog.DiscardHandler)), "choose another one with -addr")
}

package mockserver

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
)

func TestLogOfFramesIsBounded(t *testing.T) {
	var l frameLog
	for range maxLogged + 7 {
		l.add(&conn{id: 1}, false, []byte("x"), phoenix.Message{})
	}
	require.Len(t, l.all(), maxLogged)
	for range 5 {
		l.add(&conn{id: 2}, false, make([]byte, maxLoggedBytes/4), phoenix.Message{})
	}
	require.Len(t, l.all(), 4)
	require.Equal(t, 2, l.all()[0].Socket)
}

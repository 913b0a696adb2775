package inspect

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
)

func TestLogOfFramesIsBounded(t *testing.T) {
	var l Log
	for range maxLogged + 7 {
		l.Add(1, false, []byte("x"), phoenix.Message{})
	}
	require.Len(t, l.All(), maxLogged)
	for range 5 {
		l.Add(2, false, make([]byte, maxLoggedBytes/4), phoenix.Message{})
	}
	require.Len(t, l.All(), 4)
	require.Equal(t, 2, l.All()[0].Socket)
}

package realtime

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// chunks is a connection that gives each of its chunks when its time has come.
type chunks struct {
	io.ReadWriteCloser
	began  time.Time
	chunks []chunk
}

type chunk struct {
	after time.Duration // from the beginning
	size  int           // 0: the end
}

func (c *chunks) Read(p []byte) (int, error) {
	next := c.chunks[0]
	time.Sleep(time.Until(c.began.Add(next.after)))
	if next.size == 0 {
		return 0, io.EOF
	}
	c.chunks = c.chunks[1:]
	return min(len(p), next.size), nil
}

// TestWire_WhatAReadProves: the moment that counts as the last at which the
// stream was whole is never later than one at which the connection had bytes, or
// its end, that had come and were not read.
func TestWire_WhatAReadProves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := newWire(&chunks{began: began, chunks: []chunk{
			{after: time.Second, size: 100},      // waited for
			{after: 3 * time.Second, size: 100},  // waited for
			{after: 4 * time.Second, size: 100},  // these were there when the reader came back
			{after: 4 * time.Second, size: 100},  //
			{after: 60 * time.Second, size: 100}, // waited for
			{after: 61 * time.Second},            // the end, which was there, too
		}})
		buf := make([]byte, 1000)
		read := func(want time.Duration) {
			t.Helper()
			_, _ = w.Read(buf)
			require.Equal(t, want, w.proven().Sub(began))
		}
		read(0)
		read(time.Second)
		require.Zero(t, w.held(time.Now()))
		time.Sleep(10 * time.Second) // the process was stopped, or a consumer blocks
		require.Equal(t, time.Now(), w.held(time.Now()))
		read(time.Second)
		read(time.Second)
		require.Equal(t, began.Add(13*time.Second), w.held(time.Now()))
		read(13 * time.Second)
		w.prove(began.Add(12 * time.Second)) // which is known already
		w.prove(began.Add(30 * time.Second)) // the answer to a heartbeat
		require.Equal(t, 30*time.Second, w.proven().Sub(began))
		time.Sleep(10 * time.Second)
		read(30 * time.Second)
	})
}

// A read that returns at once may take some time, where the machine is busy: the
// longer nothing was proven, the longer it must have taken.
func TestWire_AReadThatWasHeldUpProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := newWire(&chunks{began: began, chunks: []chunk{
			{after: 10*time.Second + 50*time.Millisecond, size: 1},
			{after: 20*time.Second + time.Second, size: 1}}})
		time.Sleep(10 * time.Second)
		buf := make([]byte, 10)
		_, _ = w.Read(buf)
		require.Equal(t, began, w.proven())
		time.Sleep(time.Until(began.Add(20 * time.Second)))
		_, _ = w.Read(buf)
		require.Equal(t, 20*time.Second, w.proven().Sub(began))
	})
}

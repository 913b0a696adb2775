package main

import (
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
)

// BenchmarkStages measures what an event of the stream costs without a socket,
// up to each stage, and its ratio to the loop by hand. The stages take turns of
// 500 events, so that what disturbs the machine disturbs all.
func BenchmarkStages(b *testing.B) {
	const events, turn = 20_000, 500
	texts := make([][]byte, events)
	for i := range texts {
		text, _ := changeAt(i).frame()
		texts[i] = []byte(text)
	}
	d := phoenix.Decoder{Version: phoenix.V2, From: phoenix.FromServer}
	m := &meter{want: 1 << 60}
	names := []string{"goccy", "envelope", "change", "all"}
	stages := []func(text []byte) error{
		m.goccy,
		func(text []byte) error { _, err := d.Decode(false, text); return err },
		func(text []byte) error {
			frame, _ := d.Decode(false, text)
			_, _, err := cdc.Decode(frame.Payload)
			return err
		},
		func(text []byte) error {
			frame, _ := d.Decode(false, text)
			c, _, err := cdc.Decode(frame.Payload)
			if err == nil {
				err = m.change(c)
			}
			return err
		},
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took := make([][]float64, len(stages))
	var buf []byte
	for at := 0; b.Loop(); at = (at + turn) % events {
		for i, stage := range stages {
			began := threadTime()
			for _, text := range texts[at : at+turn] {
				buf = append(buf[:0], text...) // a frame comes out of a buffer that is in cache
				if err := stage(buf); err != nil {
					b.Fatal(err)
				}
			}
			took[i] = append(took[i], float64(threadTime()-began)/turn)
		}
	}
	for i, name := range names {
		ratios := make([]float64, len(took[i]))
		for j := range ratios {
			ratios[j] = took[i][j] / took[0][j]
		}
		b.ReportMetric(middle(took[i]), name+"-ns")
		b.ReportMetric(middle(ratios), name+"-ratio")
	}
}

// threadTime is the processor's time of this thread, in nanoseconds.
func threadTime() int64 {
	const threadCPU = 3 // CLOCK_THREAD_CPUTIME_ID
	var t syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadCPU, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

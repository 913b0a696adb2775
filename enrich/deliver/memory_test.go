package deliver_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/enrich"
	"github.com/gapless-go/gapless/enrich/deliver"
)

// metered gives n values, and notes the heap's size at each tenth of them, the
// first fifth aside.
func metered(n int, sizes *[]uint64) enrich.Stream[value] {
	return func(ctx context.Context) iter.Seq2[value, error] {
		return func(yield func(value, error) bool) {
			for i := range n {
				if i%(n/10) == 0 && i >= n/5 {
					runtime.GC()
					var s runtime.MemStats
					runtime.ReadMemStats(&s)
					*sizes = append(*sizes, s.HeapAlloc)
				}
				if !yield(value{N: i}, nil) {
					return
				}
			}
		}
	}
}

// What a Consumer and its store hold does not grow with the values, each of which
// has a key and a lane of its own: keys are forgotten, lanes end, and of a store in
// memory the letters, too. It is 20,000 values, or as many as GAPLESS_EVENTS says;
// a file is given a tenth, as each waits for the disk.
func TestMemoryIsFlat(t *testing.T) {
	n := 20_000
	if s := os.Getenv("GAPLESS_EVENTS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	const keys = 100
	path := filepath.Join(t.TempDir(), "store")
	file, err := deliver.OpenFile(path, keys)
	require.NoError(t, err)
	defer file.Close()
	long := strings.Repeat("long ", 200)
	name := func(v value) string { return long + keyOf(v) } // what is kept is seen
	for store, c := range map[string]struct {
		store  deliver.Store[deliver.None]
		values int
		poison int // every so manieth; a file has all letters
	}{
		"memory": {deliver.NewMemory(keys), n, 10},
		"file":   {file, n / 10, 1 << 62},
	} {
		t.Run(store, func(t *testing.T) {
			done := 0
			consumer := deliver.Consumer[value, deliver.None]{Store: c.store, Key: name, Lane: name, Position: keyOf, MaxPending: 100,
				Handle: func(_ context.Context, _ deliver.None, v value) error {
					if v.N%c.poison == 1 {
						return deliver.Permanent(errors.New(name(v)))
					}
					done++
					return nil
				}}
			var sizes []uint64
			require.NoError(t, consumer.Run(t.Context(), metered(c.values, &sizes)))
			require.GreaterOrEqual(t, done, c.values*9/10-1)
			at, err := c.store.Position(t.Context())
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(c.values-1), at)
			require.Len(t, sizes, 8)
			const slack = 256 << 10
			require.Less(t, slices.Min(sizes[5:]), slices.Max(sizes[:3])+slack, "%v", sizes)
			t.Logf("%d values, heap from %.2f to %.2f MB", c.values, float64(sizes[0])/1e6, float64(sizes[7])/1e6)
		})
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(2_000_000), "a file is written anew")
}

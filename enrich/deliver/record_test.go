package deliver

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lines are records as a file has them, behind its header.
func lines(t testing.TB, records ...record) (all []byte) {
	var sum checksum
	for _, r := range records {
		line, next, err := sum.line(r)
		require.NoError(t, err)
		all, sum = append(all, line...), next
	}
	return all
}

// FuzzReadRecords reads any bytes. What was read of them is there again when they end
// behind it, and more can be written behind that.
func FuzzReadRecords(f *testing.F) {
	key, odd := anyText("key"), anyText("M\xfcller\x00")
	whole := lines(f, record{Key: &key}, record{Position: &odd}, record{Letter: &letterRecord{Key: odd, Reason: "why", Attempts: 3, At: time.Unix(0, 0)}}, record{Retried: &odd})
	f.Add(whole)
	f.Add(whole[:len(whole)-9])
	f.Add(append(bytes.Clone(whole), make([]byte, 512)...))
	f.Fuzz(func(t *testing.T, file []byte) {
		var taken []record
		c, err := readRecords(bytes.NewReader(file), func(r record) { taken = append(taken, r) })
		require.LessOrEqual(t, c.size, int64(len(file)))
		require.Len(t, taken, c.lines)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
		}
		line, _, err := c.sum.line(record{Key: &key})
		require.NoError(t, err)
		n := 0
		again, err := readRecords(bytes.NewReader(append(bytes.Clone(file[:c.size]), line...)), func(r record) {
			if n < len(taken) {
				require.Equal(t, taken[n], r)
			}
			n++
		})
		require.NoError(t, err)
		require.False(t, again.torn)
		require.Equal(t, c.lines+1, again.lines)
	})
}

package sql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache/sql"
)

// The sums are PostgreSQL's, of rt_keys with the version columns v and at.
func TestSum(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		key     []string
		version []*string
		sum     uint64
	}{
		{[]string{"bbbbbbbb-0000-4000-8000-000000000000", "9007199254740993"}, []*string{text("3"), text("2024-01-01T00:00:00+00:00")}, 0x73d5374f4a79314d},
		{[]string{"bbbbbbbb-0000-4000-8000-000000000000", "1"}, []*string{text("NaN"), text("infinity")}, 0x139f87fc6b2e5296},
		{[]string{"aaaaaaaa-0000-4000-8000-000000000000", "9"}, []*string{nil, nil}, 0xc2b2d5fbcd1549df},
		{[]string{"318"}, nil, 0x01ab38e06152a00a},
	} {
		require.Equal(t, c.sum, sql.Sum(c.key, c.version), "%q", c.key)
	}
	require.Equal(t, uint32(0x01ab38e0), sql.Slot([]string{"318"}), "without a version, the slot is the head of the sum")
}

func TestSumTellsRowsApart(t *testing.T) {
	text := func(s string) *string { return &s }
	sums := map[uint64]int{}
	for i, row := range []struct {
		key     []string
		version []*string
	}{
		{[]string{"a", "bc"}, nil}, {[]string{"ab", "c"}, nil}, {[]string{"abc"}, nil}, {[]string{"", "abc"}, nil}, {[]string{"2:bc"}, nil},
		{[]string{"a"}, []*string{nil}}, {[]string{"a"}, []*string{text("")}}, {[]string{"a"}, []*string{text("-")}}, {[]string{"a"}, nil},
		{[]string{"a"}, []*string{nil, text("")}}, {[]string{"a"}, []*string{text(""), nil}},
	} {
		sum := sql.Sum(row.key, row.version)
		other, there := sums[sum]
		require.False(t, there, "%d and %d", i, other)
		sums[sum] = i
	}
}

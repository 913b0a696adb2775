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
		{[]string{"bbbbbbbb-0000-4000-8000-000000000000", "9007199254740993"}, []*string{text("3"), text("2024-01-01T00:00:00+00:00")}, 0x398b9f7f92489821},
		{[]string{"bbbbbbbb-0000-4000-8000-000000000000", "1"}, []*string{text("NaN"), text("infinity")}, 0x524f20048ba0dc54},
		{[]string{"aaaaaaaa-0000-4000-8000-000000000000", "9"}, []*string{nil, nil}, 0x3f50b75dda72d989},
		{[]string{"1"}, nil, 0xd015033b68b9459c},
	} {
		require.Equal(t, c.sum, sql.Sum(0, c.key, c.version), "%q", c.key)
	}
	require.Equal(t, uint64(0xd015033b68b9459c), sql.Slot(0, []string{"1"}), "without a version, the slot is the sum")
	require.NotEqual(t, sql.Slot(1, []string{"1"}), sql.Slot(0, []string{"1"}))
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
		sum := sql.Sum(0, row.key, row.version)
		other, there := sums[sum]
		require.False(t, there, "%d and %d", i, other)
		sums[sum] = i
	}
}

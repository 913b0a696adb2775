package channel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoutes(t *testing.T) {
	a := &Subscription{bindings: make([]Binding, 2)}
	b := &Subscription{bindings: make([]Binding, 2), first: 2}
	r := *newRoutes([]*Subscription{a, b}, []int64{7, 8, 8, 9})
	require.Equal(t, []route{{7, a, 0, 0}}, r.of([]int64{7}))
	require.Equal(t, []route{{8, a, 1, 1}, {8, b, 0, 2}}, r.of([]int64{8}))
	require.Equal(t, []route{{7, a, 0, 0}, {8, a, 1, 1}, {8, b, 0, 2}, {9, b, 1, 3}}, r.of([]int64{9, 7, 8, 7}), "in the order of the bindings, each once")
	require.Empty(t, r.of([]int64{1}))
	require.Empty(t, r.of(nil))
}

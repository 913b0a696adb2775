package cdc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// TestAllocations: what a change costs the garbage collector is exact on any
// machine, and is not to rise unnoticed. The rows of a change are one
// allocation. Of a struct, the text of a row is one, and so are each list and
// each pointer.
func TestAllocations(t *testing.T) {
	payload := []byte(twelve)
	c, _, err := cdc.Decode(payload)
	require.NoError(t, err)
	require.EqualValues(t, 1, testing.AllocsPerRun(200, func() { _, _, _ = cdc.Decode(payload) }))
	require.EqualValues(t, 3, testing.AllocsPerRun(200, func() { _, _ = cdc.As[order](c) }), "text, tags, updated_at")
	type flat struct {
		ID       int64
		Quantity int32
		Paid     bool
	}
	require.Zero(t, testing.AllocsPerRun(200, func() { _, _ = cdc.As[flat](c) }))
	type withText struct {
		ID               int64
		Status, Currency string
	}
	require.EqualValues(t, 1, testing.AllocsPerRun(200, func() { _, _ = cdc.As[withText](c) }))
}

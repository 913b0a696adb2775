package cdc_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

func TestConditions(t *testing.T) {
	f := cdc.And(cdc.Eq("a", 1), cdc.Not(cdc.In(`b (c)`, "x,y", "z")), cdc.IsNull("d"))
	all, err := f.Conditions()
	require.NoError(t, err)
	b, err := json.Marshal(all)
	require.NoError(t, err)
	require.Equal(t, `[{"column":"a","op":"eq","values":["1"]},`+
		`{"column":"b (c)","op":"in","values":["x,y","z"],"not":true},{"column":"d","op":"is","values":["null"]}]`, string(b))

	all[1].Values[0] = "changed"
	again, err := f.Conditions()
	require.NoError(t, err)
	require.Equal(t, "x,y", again[1].Values[0], "a filter does not change")

	none, err := cdc.Filter{}.Conditions()
	require.NoError(t, err)
	require.Nil(t, none)

	_, err = cdc.In("a").Conditions()
	require.Error(t, err)
}

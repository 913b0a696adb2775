package enrich_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/enrich"
)

func TestEventsDecodesAndKeepsGaps(t *testing.T) {
	columns := []cdc.Column{{Name: "id", Type: "int8"}, {Name: "user_id", Type: "int8"}, {Name: "page", Type: "text"}}
	insert := func(record string) cdc.Change {
		return cdc.Change{Op: cdc.Insert, Columns: columns, Record: json.RawMessage(record)}
	}
	in := enrich.Of(cdc.Change{Gap: &cdc.Gap{Reason: cdc.Started}}, insert(`{"id":1}`), insert(`{"id":"x"}`), insert(`{"id":2}`))

	out := collect(t, t.Context(), enrich.Events[click](in, nil))
	require.Equal(t, cdc.Started, enrich.GapOf(out.next()).Reason)
	require.EqualValues(t, 1, out.next().New.ID)
	var undecodable *cdc.DecodeError
	require.ErrorAs(t, out.ended(), &undecodable)

	var bad []error
	out = collect(t, t.Context(), enrich.Events[click](in, func(c cdc.Change, err error) error {
		bad = append(bad, err)
		return nil
	}))
	require.NotNil(t, out.next().Gap)
	require.EqualValues(t, 1, out.next().New.ID)
	require.EqualValues(t, 2, out.next().New.ID)
	require.NoError(t, out.ended())
	require.Len(t, bad, 1)

	mine := errors.New("mine")
	out = collect(t, t.Context(), enrich.Events[click](in, func(cdc.Change, error) error { return mine }))
	out.next()
	out.next()
	require.ErrorIs(t, out.ended(), mine)
}

func TestOfEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, collect(t, ctx, enrich.Of(1)).ended(), context.Canceled)
}

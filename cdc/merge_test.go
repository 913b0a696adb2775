package cdc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

type merged struct {
	ID   int64             `json:"id"`
	Note *string           `json:"note"`
	Body string            `json:"body"`
	Tags map[string]string `json:"tags"`
	List []int64           `json:"list"`
}

// partial is a change that left the columns out that record does not have.
func partial(record string, missing ...string) cdc.Change {
	return cdc.Change{
		Op: cdc.Update, Schema: "public", Table: "docs", Record: []byte(record), Missing: missing,
		Columns: []cdc.Column{{Name: "id", Type: "int8"}, {Name: "note", Type: "text"}, {Name: "body", Type: "text"},
			{Name: "tags", Type: "jsonb"}, {Name: "list", Type: "_int8"}},
	}
}

func TestMergeKeepsWhatIsMissing(t *testing.T) {
	note := "a note"
	before := merged{ID: 1, Note: &note, Body: "long", Tags: map[string]string{"a": "1"}, List: []int64{1, 2}}
	after, err := cdc.Merge(partial(`{"id":2,"note":"another","tags":{"b":"2"},"list":[3,4]}`, "body"), before)
	require.NoError(t, err)
	require.Equal(t, int64(2), after.ID)
	require.Equal(t, "long", after.Body)
	require.Equal(t, "another", *after.Note)
	require.Equal(t, map[string]string{"b": "2"}, after.Tags)
	require.Equal(t, []int64{3, 4}, after.List)
	// The row before is as it was, and so is what it points to.
	require.Equal(t, merged{ID: 1, Note: &note, Body: "long", Tags: map[string]string{"a": "1"}, List: []int64{1, 2}}, before)
	require.Equal(t, "a note", note)
}

func TestMergeOfNull(t *testing.T) {
	note := "a note"
	after, err := cdc.Merge(partial(`{"id":1,"note":null,"tags":null,"list":null}`, "body"),
		merged{Note: &note, Body: "long", Tags: map[string]string{"a": "1"}, List: []int64{1}})
	require.NoError(t, err)
	require.Equal(t, merged{ID: 1, Body: "long"}, after)
}

func TestMergeOfAMap(t *testing.T) {
	before := map[string]any{"id": int64(1), "body": "long", "note": "a note"}
	after, err := cdc.Merge(partial(`{"id":2,"note":null}`, "body", "tags"), before)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"id": int64(2), "body": "long", "note": nil}, after)
	require.Equal(t, map[string]any{"id": int64(1), "body": "long", "note": "a note"}, before)
}

type embedded struct{ ID int64 }

func TestMergeRefusesWhatItWouldShare(t *testing.T) {
	_, err := cdc.Merge(partial(`{"id":2}`, "body"), &merged{})
	require.ErrorAs(t, err, new(*cdc.TypeError))
	_, err = cdc.Merge(partial(`{"id":2}`, "body"), struct{ *embedded }{})
	require.Error(t, err)
	_, err = cdc.Merge(partial(`{"id":2}`, "body"), struct {
		embedded
		Body string
	}{})
	require.NoError(t, err)
	before := merged{Body: "long"}
	after, err := cdc.Merge(partial(`{"id":"x"}`, "body"), before)
	var refused *cdc.DecodeError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, before, after)
}

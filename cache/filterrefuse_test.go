package cache_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache"
	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/mockserver"
)

// A filter on which the server would stop the changes of everybody ends Run
// before anything is subscribed, and one that reads like it and does no harm
// does not.
func TestFilter_PoisonEndsRun(t *testing.T) {
	cfg := itemsConfig()
	cfg.Tables = append(cfg.Tables, mockserver.Table{Name: "tagged", PrimaryKey: []string{"id"}, Columns: []mockserver.Column{
		{Name: "id", Type: "int8"}, {Name: "name", Type: "text"}, {Name: "tags", Type: "text[]"}, {Name: "hash", Type: "bytea"},
		{Name: "note", Type: "text"}, {Name: "owner", Type: "text"}, {Name: "ver", Type: "int8"}}})
	// The types are learnt from the functions of package sql: the description of the
	// REST API is for secret keys alone, and these have a user's.
	for _, level := range []string{"level 2"} {
		for _, f := range []cdc.Filter{cdc.Eq("tags", "{cat}"), cdc.IsNull("tags"), cdc.Eq("tags", cdc.Literal("{cat}")), cdc.Eq("hash", "text")} {
			t.Run(level+"/"+f.String(), func(t *testing.T) {
				inWorld(t, cfg, func(w *world) {
					table, err := cache.New(w.client, "tagged", itemID, append(levels()[level](w), cache.WithFilter(f))...)
					require.NoError(t, err)
					var column *cdc.ColumnError
					require.ErrorAs(t, runErr(w, table), &column)
					require.Equal(t, "tagged", column.Table)
				})
			})
		}
		for _, f := range []cdc.Filter{cdc.Eq("name", "(x)"), cdc.Eq("hash", `\xca`), cdc.Eq("hash", []byte{0xca})} {
			t.Run(level+"/"+f.String(), func(t *testing.T) {
				inWorld(t, cfg, func(w *world) {
					require.NoError(t, w.server.Insert("tagged", mockserver.Row{"id": 1, "name": "(x)", "hash": []byte{0xca}}, mockserver.Row{"id": 2, "name": "y", "hash": []byte{0xff}}))
					table, err := cache.New(w.client, "tagged", itemID, append(levels()[level](w), cache.WithFilter(f))...)
					require.NoError(t, err)
					w.run(table.Run)
					w.sync(table)
					require.Equal(t, 1, table.Len())
					require.NoError(t, w.server.Insert("tagged", mockserver.Row{"id": 3, "name": "(x)", "hash": []byte{0xca}}))
					require.NoError(t, table.WaitFor(w.ctx, 3, func(_ item, there bool) bool { return there }))
				})
			})
		}
	}
	t.Run("types that are not known", func(t *testing.T) {
		inWorld(t, cfg, func(w *world) {
			table, err := cache.New(w.client, "tagged", itemID, cache.WithFilter(cdc.Eq("tags", "{cat}")))
			require.NoError(t, err)
			var column *cdc.ColumnError
			require.ErrorAs(t, runErr(w, table), &column)
		})
	})
}

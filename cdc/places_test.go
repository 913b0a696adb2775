package cdc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// TestAs_ReadsWhatTheChangeHas: Decode keeps for As where the values of the rows
// are. A change that somebody has set fields of is read by these.
func TestAs_ReadsWhatTheChangeHas(t *testing.T) {
	type row struct {
		ID     int64
		Status *string
	}
	read := func(c cdc.Change) (row, row) {
		t.Helper()
		e, err := cdc.As[row](c)
		require.NoError(t, err)
		m, err := cdc.As[map[string]json.RawMessage](c)
		require.NoError(t, err)
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(c.Record, &want))
		require.Equal(t, want, m.New)
		return e.New, e.Old
	}
	open := "open"
	for name, edit := range map[string]func(c *cdc.Change){
		"another row":              func(c *cdc.Change) { c.Record = json.RawMessage(`{"status": "open","id":  7}`) },
		"a row of the same length": func(c *cdc.Change) { c.Record = json.RawMessage(`{"status":"open", "id":7 }`) },
		"rows exchanged":           func(c *cdc.Change) { c.Record, c.OldRecord = c.OldRecord, c.Record },
		"columns in another order": func(c *cdc.Change) { c.Columns = slices.Clone(c.Columns); slices.Reverse(c.Columns) },
		"fewer columns":            func(c *cdc.Change) { c.Columns = c.Columns[:1] },
		"no columns":               func(c *cdc.Change) { c.Columns = nil },
		"a copy of the row":        func(c *cdc.Change) { c.Record = bytes.Clone(c.Record) },
		"nothing":                  func(*cdc.Change) {},
	} {
		t.Run(name, func(t *testing.T) {
			c := decode(t, with(t, `"status": null`, `"status": "open"`))
			edit(&c)
			now, old := read(c)
			switch name {
			case "another row", "a row of the same length":
				require.Equal(t, row{7, &open}, now)
			case "rows exchanged":
				require.Equal(t, row{46, nil}, now)
				require.Equal(t, row{46, &open}, old)
			default:
				require.Equal(t, row{46, &open}, now)
				require.Equal(t, row{46, nil}, old)
			}
		})
	}
	part := decode(t, []byte(update))
	part.Record = part.Record[:len(part.Record)-1]
	_, err := cdc.As[row](part)
	require.Error(t, err, "no JSON any more")
}

// TestAs_KeepsNoRow: what As has made holds no memory of the change, however short
// it is beside it.
func TestAs_KeepsNoRow(t *testing.T) {
	type row struct {
		ID     int64
		Status string
		Note   json.RawMessage
	}
	const size = 1 << 20
	list := make([]row, 50)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range list {
		c := decode(t, with(t, `"status": null`, `"status": "open", "ballast": "`+strings.Repeat("x", size)+`", "note": [1]`))
		e, err := cdc.As[row](c)
		require.NoError(t, err)
		list[i] = e.New
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(5*size))
	require.Equal(t, row{46, "open", json.RawMessage(`[1]`)}, list[49])
}

// TestDecode_KeepsLittleBesideTheRow: what a queue counts of a change is its rows,
// and what else it holds is no more than they.
func TestDecode_KeepsLittleBesideTheRow(t *testing.T) {
	for name, member := range map[string]string{"short values": `"id":1,`, "longer ones": `"status":"shipped, and on its way",`, "of no column": `"":1,`} {
		t.Run(name, func(t *testing.T) {
			record := strings.TrimSuffix(strings.Repeat(member, 1<<20/len(member)), ",")
			payload := with(t, `"id": 46, "status": null`, record)
			list := make([]cdc.Change, 10)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for i := range list {
				list[i] = decode(t, payload)
			}
			runtime.GC()
			runtime.GC() // what a pool has
			runtime.ReadMemStats(&after)
			require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(len(list)*len(record)*21/10))
			require.Len(t, list[9].Record, len(record)+2)
		})
	}
}

// TestDecode_ManyMembers: rows of more members than there is room for without the
// heap, and a row that comes twice, of which the last counts.
func TestDecode_ManyMembers(t *testing.T) {
	for _, n := range []int{1, 31, 32, 33, 63, 64, 65, 300} {
		var columns, row []string
		for i := range n {
			columns = append(columns, fmt.Sprintf(`{"name":"c%d","type":"text"}`, i))
			row = append(row, fmt.Sprintf(`"c%d":"value %d"`, i, i))
		}
		full, half := "{"+strings.Join(row, ",")+"}", "{"+strings.Join(row[n/2:], ",")+"}"
		for _, rows := range []string{
			`"old_record":` + full + `,"record":` + full, `"old_record":` + half + `,"record":` + full, `"old_record":` + full + `,"record":` + half,
			`"record":` + full + `,"record":` + half + `,"old_record":` + half, `"record":` + half + `,"old_record":` + full + `,"record":` + full,
		} {
			payload := []byte(`{"data":{"columns":[` + strings.Join(columns, ",") + `],` + rows + `,"schema":"s","table":"t","type":"UPDATE"},"ids":[1]}`)
			c := decode(t, payload)
			checkDecoded(t, payload, c)
			e, err := cdc.As[map[string]string](c)
			require.NoError(t, err)
			var old map[string]string
			require.NoError(t, json.Unmarshal(c.OldRecord, &old))
			require.Equal(t, old, e.Old)
		}
	}
}

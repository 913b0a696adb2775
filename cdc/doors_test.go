package cdc_test

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// TestDecode_CostIsLinear: whatever a server sends, Decode and As cost time and
// memory in proportion to its bytes.
func TestDecode_CostIsLinear(t *testing.T) {
	const size = 1 << 20
	insert := func(record string) []byte {
		return []byte(`{"data":{"columns":[{"name":"id","type":"int8"},{"name":"v","type":"text"}],"commit_timestamp":null,"errors":null,"record":` + record +
			`,"schema":"public","table":"t","type":"INSERT"},"ids":[1]}`)
	}
	repeated := func(n int, item func(i int) string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(item(i))
		}
		return b.String()
	}
	ids := repeated(size/2, func(int) string { return "7" })
	for name, payload := range map[string][]byte{
		"ids":                []byte(strings.Replace(string(insert(`{}`)), `"ids":[1]`, `"ids":[`+ids+`]`, 1)),
		"a long string":      insert(`{"v":"` + strings.Repeat("x", size) + `"}`),
		"escapes":            insert(`{"v":"` + strings.Repeat(`\u00e9`, size/6) + `"}`),
		"no UTF-8":           insert(`{"v":"` + strings.Repeat("\xff", size) + `"}`),
		"nested":             insert(`{"v":` + strings.Repeat(`[{"a":`, 4000) + "1" + strings.Repeat("}]", 4000) + `}`),
		"one key many times": insert(`{` + repeated(size/10, func(int) string { return `"v":"abc"` }) + `}`),
		"many keys":          insert(`{` + repeated(size/16, func(i int) string { return `"k` + strconv.Itoa(i) + `":1` }) + `}`),
		"escaped keys":       insert(`{` + repeated(size/16, func(i int) string { return `"\u0076":"` + strconv.Itoa(i) + `"` }) + `}`),
		"a huge exponent":    insert(`{"v":1e999999999,"id":1}`),
		"digits":             insert(`{"v":` + strings.Repeat("9", size) + `}`),
		"blanks":             insert(`{` + strings.Repeat(" ", size) + `}`),
	} {
		t.Run(name, func(t *testing.T) {
			var c cdc.Change
			var err error
			withinBudget(t, len(payload), func() { c, _, err = cdc.Decode(payload) })
			require.NoError(t, err)
			for _, as := range []func(){
				func() {
					_, err = cdc.As[struct {
						ID int64
						V  string
					}](c)
				},
				func() { _, err = cdc.As[struct{ V []json.Number }](c) },
				func() { _, err = cdc.As[struct{ V *big.Rat }](c) },
				func() { _, err = cdc.As[struct{ V float64 }](c) },
				func() { _, _ = c.Value("v") },
			} {
				withinBudget(t, len(payload), as)
			}
		})
	}
	columns := repeated(size/32, func(i int) string { return `{"name":"c` + strconv.Itoa(i) + `","type":"int4"}` })
	wide := []byte(`{"data":{"columns":[` + columns + `],"record":{},"schema":"public","table":"t","type":"INSERT"},"ids":[1]}`)
	withinBudget(t, len(wide), func() { _, _, _ = cdc.Decode(wide) })
}

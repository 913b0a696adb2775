package deliver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/gapless-go/gapless/cdc"
)

// ChangeKey is a key for a change that is the same when the change is delivered
// again: the table, the operation, the time of the commit and a digest of both
// rows. Realtime numbers nothing, so there is no better one: two equal updates of
// a row within one millisecond have one key. That is no loss to an effect that
// depends on the row. Of a gap it is empty.
func ChangeKey(c cdc.Change) string {
	if c.Gap != nil {
		return ""
	}
	h := sha256.New()
	h.Write(c.Record)
	h.Write([]byte{0})
	h.Write(c.OldRecord)
	return fmt.Sprintf("%s.%s %v %d %s", c.Schema, c.Table, c.Op, c.Committed.UnixMilli(), hex.EncodeToString(h.Sum(nil)[:16]))
}

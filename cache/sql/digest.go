package sql

import (
	"strconv"

	"github.com/gapless-go/gapless/internal/pghash"
)

// Slot returns the place of a row in rt_digest and rt_keys, which its key and
// the seed decide: the row is in bucket Slot(seed, key) >> (64 - bits). key has
// the text of each column, in the order in which the call names them.
func Slot(seed int64, key []string) uint64 {
	b := make([]byte, 0, 64)
	for _, text := range key {
		b = appendText(b, text)
	}
	return pghash.Text(b, uint64(seed))
}

// Sum returns the hash of a row in rt_digest and rt_keys. version has the text
// of each version column, nil for NULL. Without any it is the Slot.
func Sum(seed int64, key []string, version []*string) uint64 {
	b := make([]byte, 0, 128)
	for _, text := range key {
		b = appendText(b, text)
	}
	for _, text := range version {
		if text == nil {
			b = append(b, '-')
			continue
		}
		b = appendText(b, *text)
	}
	return pghash.Text(b, uint64(seed))
}

// appendText tells where a text ends, so that no other texts are hashed alike.
func appendText(b []byte, text string) []byte {
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, ':')
	return append(b, text...)
}

package sql

import (
	"crypto/md5"
	"encoding/binary"
	"strconv"
)

// Slot returns the place of a row in rt_digest and rt_keys, which its key alone
// decides: the row is in bucket Slot(key) >> (32 - bits). key has the text of
// each column, in the order in which the call names them.
func Slot(key []string) uint32 {
	sum := md5.Sum(appendKey(make([]byte, 0, 64), key))
	return binary.BigEndian.Uint32(sum[:])
}

// Sum returns the hash of a row in rt_digest and rt_keys. version has the text
// of each version column, nil for NULL.
func Sum(key []string, version []*string) uint64 {
	b := appendKey(make([]byte, 0, 128), key)
	for _, text := range version {
		if text == nil {
			b = append(b, '-')
			continue
		}
		b = appendText(b, *text)
	}
	sum := md5.Sum(b)
	return binary.BigEndian.Uint64(sum[:])
}

func appendKey(b []byte, key []string) []byte {
	for _, text := range key {
		b = appendText(b, text)
	}
	return b
}

// appendText tells where a text ends, so that no other texts are hashed alike.
func appendText(b []byte, text string) []byte {
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, ':')
	return append(b, text...)
}

package pgoutput_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/postgres/internal/pgoutput"
)

// frame writes a message: bytes and strings as they are, numbers big endian,
// names with their zero.
func frame(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case byte:
			b = append(b, p)
		case rune:
			b = append(b, byte(p))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		case string:
			b = append(append(b, p...), 0)
		case []byte:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
		}
	}
	return b
}

var (
	at     = time.Date(2026, 11, 25, 1, 2, 3, 456789000, time.UTC)
	micros = uint64(at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Microsecond)
	long   = uint64(1)<<63 + 5
)

var messages = []struct {
	name string
	data []byte
	want pgoutput.Message
}{
	{"begin", frame('B', long, micros, uint32(7)), pgoutput.Begin{Final: long, Commit: at, XID: 7}},
	{"begin before 2000", frame('B', uint64(1), ^uint64(0), uint32(7)),
		pgoutput.Begin{Final: 1, Commit: time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.UTC), XID: 7}},
	{"commit", frame('C', byte(0), uint64(1), long, micros), pgoutput.Commit{End: long, At: at}},
	{"relation", frame('R', uint32(5), "other", "Things", 'f', uint16(2), byte(1), "id", uint32(20), ^uint32(0), byte(0), "v", uint32(25), ^uint32(0)),
		pgoutput.Relation{ID: 5, Schema: "other", Name: "Things", Identity: pgoutput.IdentityFull,
			Columns: []pgoutput.Column{{Key: true, Name: "id", Type: 20}, {Name: "v", Type: 25}}}},
	{"relation of the catalogue", frame('R', uint32(5), "", "t", 'd', uint16(0)),
		pgoutput.Relation{ID: 5, Schema: "pg_catalog", Name: "t", Identity: pgoutput.IdentityDefault}},
	{"insert", frame('I', uint32(5), 'N', uint16(3), 't', []byte("1"), 'n', 't', []byte{}),
		pgoutput.Insert{Relation: 5, New: pgoutput.Tuple{{pgoutput.Text, []byte("1")}, {Kind: pgoutput.Null}, {pgoutput.Text, []byte{}}}}},
	{"update", frame('U', uint32(5), 'N', uint16(2), 't', []byte("1"), 'u'),
		pgoutput.Update{Relation: 5, New: pgoutput.Tuple{{pgoutput.Text, []byte("1")}, {Kind: pgoutput.Unchanged}}}},
	{"update of the key", frame('U', uint32(5), 'K', uint16(1), 't', []byte("1"), 'N', uint16(1), 't', []byte("2")),
		pgoutput.Update{Relation: 5, Old: pgoutput.Tuple{{pgoutput.Text, []byte("1")}}, New: pgoutput.Tuple{{pgoutput.Text, []byte("2")}}}},
	{"delete", frame('D', uint32(5), 'O', uint16(1), 'n'), pgoutput.Delete{Relation: 5, Old: pgoutput.Tuple{{Kind: pgoutput.Null}}}},
	{"truncate", frame('T', uint32(1), byte(0), uint32(5)), pgoutput.Other('T')},
	{"type", frame('Y', uint32(1), "public", "mood"), pgoutput.Other('Y')},
}

func TestDecode(t *testing.T) {
	for _, c := range messages {
		t.Run(c.name, func(t *testing.T) {
			got, err := pgoutput.Decode(c.data)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range messages {
		if _, skipped := c.want.(pgoutput.Other); skipped {
			continue
		}
		for n := range len(c.data) {
			_, err := pgoutput.Decode(c.data[:n])
			var bad *pgoutput.FormatError
			require.ErrorAs(t, err, &bad, "%s cut to %d bytes", c.name, n)
		}
		_, err := pgoutput.Decode(append(c.data[:len(c.data):len(c.data)], 0))
		require.ErrorContains(t, err, "too many", c.name)
	}
	for name, data := range map[string][]byte{
		"unknown kind":            frame('x'),
		"unknown tuple":           frame('I', uint32(1), 'Q', uint16(0)),
		"unknown value":           frame('I', uint32(1), 'N', uint16(1), 'x'),
		"value longer than it is": frame('I', uint32(1), 'N', uint16(1), 't', ^uint32(0)),
		"too many columns":        frame('I', uint32(1), 'N', uint16(60000), 'n'),
	} {
		_, err := pgoutput.Decode(data)
		require.Error(t, err, name)
	}
}

// FuzzDecode wants no panic, and no value that is longer than the message.
func FuzzDecode(f *testing.F) {
	for _, c := range messages {
		f.Add(c.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := pgoutput.Decode(data)
		if err != nil {
			require.Nil(t, m)
			return
		}
		size := 0
		count := func(tuple pgoutput.Tuple) {
			for _, v := range tuple {
				size += 1 + len(v.Text)
			}
		}
		switch m := m.(type) {
		case pgoutput.Insert:
			count(m.New)
		case pgoutput.Update:
			count(m.Old)
			count(m.New)
		case pgoutput.Delete:
			count(m.Old)
		}
		require.LessOrEqual(t, size, len(data))
	})
}

package postgrest_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/postgrest"
	"github.com/gapless-go/gapless/mockserver"
)

type (
	level  int
	word   string
	shown  [2]byte            // has String alone
	opaque struct{ a, b int } //lint:ignore U1000 a key of fields that nobody can set
	broken struct{ A int }
	tenant struct{ TenantID uuid.UUID }
	order  struct {
		tenant
		Number  int64  `db:"no,pk" json:"nummer"`
		Part    string `json:"part_name"`
		Deleted bool
	}
)

func (level) String() string                 { return "high" }
func (s shown) String() string               { return string(s[:]) }
func (opaque) String() string                { return "opaque" }
func (*broken) MarshalText() ([]byte, error) { return nil, errors.New("no text") }

var someUUID = uuid.MustParse("6F1E3C56-4f0a-4a43-9a0d-6f6c3b1f2d11")

// requireKey makes a codec of K and checks what it does to a key and another
// one.
func requireKey[K comparable](t *testing.T, k, other K, want string) {
	t.Helper()
	c, err := postgrest.NewKeyCodec[K]([]string{"id"})
	require.NoError(t, err)
	texts, err := c.Encode(k)
	require.NoError(t, err)
	require.Equal(t, []string{want}, texts)
	require.True(t, c.Check(&k, texts))
	require.False(t, c.Check(&other, texts))
	require.False(t, c.Check(&k, nil))
	require.False(t, c.Check(&k, append(texts, "")))
}

func TestKeyCodecOfOneColumn(t *testing.T) {
	requireKey(t, 5, 6, "5")
	requireKey(t, int64(math.MinInt64), math.MaxInt64, "-9223372036854775808")
	requireKey(t, uint64(math.MaxUint64), 0, "18446744073709551615")
	requireKey(t, level(3), 4, "3")
	requireKey(t, `a"b`, "a", `a"b`)
	requireKey(t, word("x"), "", "x")
	requireKey(t, true, false, "true")
	requireKey(t, someUUID, uuid.UUID{}, "6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11")
	requireKey(t, shown{'a', 'b'}, shown{}, "ab")
	requireKey(t, netip.MustParseAddr("10.0.0.1"), netip.Addr{}, "10.0.0.1")
	requireKey(t, struct{ ID int }{7}, struct{ ID int }{8}, "7")
	requireKey(t, struct {
		N int `db:"id"`
	}{7}, struct {
		N int `db:"id"`
	}{8}, "7")
	c, err := postgrest.NewKeyCodec[opaque]([]string{"id"})
	require.NoError(t, err)
	require.True(t, c.Check(&opaque{}, []string{"opaque"}))
}

func TestKeyCodecOfSeveralColumns(t *testing.T) {
	c, err := postgrest.NewKeyCodec[order]([]string{"no", "part_name", "tenant_id", "deleted"})
	require.NoError(t, err)
	k := order{tenant{someUUID}, 12, "", true}
	texts, err := c.Encode(k)
	require.NoError(t, err)
	require.Equal(t, []string{"12", "", someUUID.String(), "true"}, texts)
	require.True(t, c.Check(&k, texts))
	k.Part = "x"
	require.False(t, c.Check(&k, texts))

	type swapped struct {
		A int `json:"b"`
		B int `json:"a"`
	}
	s, err := postgrest.NewKeyCodec[swapped]([]string{"a", "b"})
	require.NoError(t, err)
	texts, err = s.Encode(swapped{A: 1, B: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"2", "1"}, texts, "a tag comes before a name")
}

func requireNoCodec[K comparable](t *testing.T, reason string, columns ...string) {
	t.Helper()
	_, err := postgrest.NewKeyCodec[K](columns)
	var e *postgrest.KeyTypeError
	require.ErrorAs(t, err, &e)
	require.ErrorContains(t, err, reason)
}

func TestKeyCodecMistakes(t *testing.T) {
	requireNoCodec[int](t, "postgrest: type int: the key has no columns")
	requireNoCodec[int](t, "type int: a key of 2 columns is a struct", "a", "b")
	requireNoCodec[time.Time](t, `type time.Time for key column "a": a time has not one text`, "a")
	requireNoCodec[float64](t, `type float64 for key column "a": a float is no key`, "a")
	requireNoCodec[*int](t, `type *int for key column "a": a pointer`, "a")
	requireNoCodec[*uuid.UUID](t, "a pointer", "a")
	requireNoCodec[any](t, "a pointer or interface", "a")
	requireNoCodec[[2]int](t, "want a string", "a")
	requireNoCodec[struct{}](t, `for key column "a": it has no field of its own`, "a")
	requireNoCodec[struct{ A, B int }](t, "field B is no column of the key", "a")
	requireNoCodec[struct{ A, b int }](t, `for key column "b": it has no field`, "a", "b")
	requireNoCodec[struct{ A, b int }](t, "field b is no column of the key", "a")
	requireNoCodec[struct{ A int }](t, `for key column "a": it has no field of its own`, "a", "a")
	requireNoCodec[struct {
		A int `db:"-"`
	}](t, "it has no field", "a")
	requireNoCodec[struct {
		A time.Time
		B int
	}](t, `for key column "a": field A: a time`, "a", "b")
	requireNoCodec[struct{ *tenant }](t, "has no field", "tenant_id")

	c, err := postgrest.NewKeyCodec[broken]([]string{"a"})
	require.NoError(t, err)
	_, err = c.Encode(broken{})
	require.EqualError(t, err, `postgrest: key column "a": no text`)
	require.False(t, c.Check(&broken{}, []string{""}))
}

// The texts of a codec are those of the rows that a server sends, and find them.
func TestKeyCodecAgainstRows(t *testing.T) {
	tables(t, func(t *testing.T, s *mockserver.Server, c *spied) {
		type key struct {
			Order string
			B     int16
			C     string `json:"c.d"`
		}
		table := tripleTable(c)
		codec, err := postgrest.NewKeyCodec[key](table.Key)
		require.NoError(t, err)
		_, pages := walk(t, table, 7)
		for _, page := range pages {
			for _, row := range page.Rows {
				var k key
				require.NoError(t, json.Unmarshal(row.JSON, &k))
				require.True(t, codec.Check(&k, row.Key), "%+v %q", k, row.Key)
				texts, err := codec.Encode(k)
				require.NoError(t, err)
				found, err := table.ByKeys(context.Background(), [][]string{texts})
				require.NoError(t, err)
				require.Len(t, found.Rows, 1)
			}
		}
	})
}

func TestCheckKeyType(t *testing.T) {
	type pair struct {
		ID   int64
		Name string
	}
	type timed struct {
		ID int64
		At time.Time
	}
	for _, err := range []error{postgrest.CheckKeyType[int64](), postgrest.CheckKeyType[string](), postgrest.CheckKeyType[bool](), postgrest.CheckKeyType[pair](), postgrest.CheckKeyType[netip.Addr]()} {
		require.NoError(t, err)
	}
	for _, err := range []error{postgrest.CheckKeyType[float64](), postgrest.CheckKeyType[*int64](), postgrest.CheckKeyType[time.Time](), postgrest.CheckKeyType[timed](), postgrest.CheckKeyType[struct{}](), postgrest.CheckKeyType[any]()} {
		require.ErrorAs(t, err, new(*postgrest.KeyTypeError))
	}
}

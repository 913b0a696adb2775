package cdc_test

import (
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
)

// order is a table of twelve columns, as many applications have it.
type order struct {
	ID         int64            `db:"id"`
	CustomerID int64            `db:"customer_id"`
	Status     string           `db:"status"`
	Total      json.Number      `db:"total"`
	Currency   string           `db:"currency"`
	Quantity   int32            `db:"quantity"`
	Paid       bool             `db:"paid"`
	Note       sql.Null[string] `db:"note"`
	Tags       []string         `db:"tags"`
	Address    json.RawMessage  `db:"address"`
	CreatedAt  time.Time        `db:"created_at"`
	UpdatedAt  *time.Time       `db:"updated_at"`
}

// twelve is a payload as the server writes them.
const twelve = `{"data":{"columns":[{"name": "id", "type": "int8"}, {"name": "customer_id", "type": "int8"}, {"name": "status", "type": "text"}, {"name": "total", "type": "numeric"}, ` +
	`{"name": "currency", "type": "text"}, {"name": "quantity", "type": "int4"}, {"name": "paid", "type": "bool"}, {"name": "note", "type": "text"}, ` +
	`{"name": "tags", "type": "_text"}, {"name": "address", "type": "jsonb"}, {"name": "created_at", "type": "timestamptz"}, {"name": "updated_at", "type": "timestamptz"}],` +
	`"commit_timestamp":"2025-11-19T00:22:40.877Z","errors":null,"old_record":{"id": 9007199254740993},"record":` +
	`{"id": 9007199254740993, "note": null, "paid": true, "tags": ["new", "gift"], "total": 1249.50, "status": "shipped", "address": {"zip": "10115", "city": "Berlin"}, ` +
	`"currency": "EUR", "quantity": 3, "created_at": "2025-11-18T21:02:11.123456+00:00", "updated_at": "2025-11-19T00:22:40.87+00:00", "customer_id": 4711},` +
	`"schema":"public","table":"orders","type":"UPDATE"},"ids":[106243155]}`

func BenchmarkDecode(b *testing.B) {
	b.Run("12 columns", func(b *testing.B) { benchmarkDecode(b, []byte(twelve)) })
	b.Run("50 columns", func(b *testing.B) {
		benchmarkDecode(b, payloads(b, "02-private-postgres-changes-full.vsn2", "t_full")[0])
	})
}

func benchmarkDecode(b *testing.B, payload []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if _, _, err := cdc.Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAs(b *testing.B) {
	c, _, err := cdc.Decode([]byte(twelve))
	require.NoError(b, err)
	b.Run("struct of 12", func(b *testing.B) { benchmarkAs[order](b, c) })
	b.Run("map of 12", func(b *testing.B) { benchmarkAs[map[string]any](b, c) })
	c, _, err = cdc.Decode(payloads(b, "02-private-postgres-changes-full.vsn2", "t_full")[0])
	require.NoError(b, err)
	b.Run("struct of 50", func(b *testing.B) { benchmarkAs[full](b, c) })
}

func benchmarkAs[T any](b *testing.B, c cdc.Change) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cdc.As[T](c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFilterString(b *testing.B) {
	f := cdc.And(cdc.Eq("status", "shipped"), cdc.In("id", 1, 2, 3))
	b.ReportAllocs()
	for b.Loop() {
		_ = f.String()
	}
}

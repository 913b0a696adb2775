package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Payment, Order and Product are what every client that decodes decodes into:
// tables of 4, 12 and 40 columns.
type (
	Payment struct {
		ID     int64       `json:"id"`
		SentAt int64       `json:"sent_at"` // Unix time in nanoseconds
		Total  json.Number `json:"total"`
		Note   *string     `json:"note"`
	}
	Order struct {
		ID        int64           `json:"id"`
		SentAt    int64           `json:"sent_at"`
		Status    string          `json:"status"`
		Total     json.Number     `json:"total"`
		Currency  string          `json:"currency"`
		Quantity  int32           `json:"quantity"`
		Paid      bool            `json:"paid"`
		Note      *string         `json:"note"`
		Tags      []string        `json:"tags"`
		Address   json.RawMessage `json:"address"`
		CreatedAt time.Time       `json:"created_at"`
		UpdatedAt time.Time       `json:"updated_at"`
	}
	Product struct {
		ID            int64           `json:"id"`
		SentAt        int64           `json:"sent_at"`
		Total         json.Number     `json:"total"`
		SKU           string          `json:"sku"`
		Name          string          `json:"name"`
		Subtitle      *string         `json:"subtitle"`
		Description   string          `json:"description"`
		Brand         string          `json:"brand"`
		Maker         string          `json:"maker"`
		Country       string          `json:"country"`
		Categories    []string        `json:"categories"`
		Keywords      []string        `json:"keywords"`
		Attributes    json.RawMessage `json:"attributes"`
		Media         json.RawMessage `json:"media"`
		Price         json.Number     `json:"price"`
		Cost          json.Number     `json:"cost"`
		Rate          json.Number     `json:"rate"`
		Weight        float64         `json:"weight"`
		Width         float64         `json:"width"`
		Height        float64         `json:"height"`
		Depth         float64         `json:"depth"`
		Latitude      *float64        `json:"latitude"`
		Longitude     *float64        `json:"longitude"`
		Stock         int32           `json:"stock"`
		Reserved      int32           `json:"reserved"`
		Sold          int64           `json:"sold"`
		Views         int64           `json:"views"`
		Rating        *float64        `json:"rating"`
		Active        bool            `json:"active"`
		Digital       bool            `json:"digital"`
		Fragile       *bool           `json:"fragile"`
		OwnerID       string          `json:"owner_id"`
		SupplierID    *string         `json:"supplier_id"`
		Barcode       *string         `json:"barcode"`
		Season        *string         `json:"season"`
		ReleasedOn    *string         `json:"released_on"`
		CreatedAt     time.Time       `json:"created_at"`
		UpdatedAt     time.Time       `json:"updated_at"`
		DiscontinedAt *time.Time      `json:"discontinued_at"`
		Remarks       *string         `json:"remarks"`
	}
)

// column is a column of a table with what makes its values.
type column struct {
	name, kind string
	value      func(*rand.Rand) string // JSON as PostgreSQL writes jsonb; nil: the change has it
	salt       uint64
}

// table is a table of the stream.
type table struct {
	name    string
	binding int
	columns string   // as the wire lists them
	sent    []column // in the order of a record, which is jsonb's: by the length of the name, then by name
}

func newTable(name string, binding int, columns ...column) table {
	t := table{name: name, binding: binding}
	var list []string
	for i := range columns {
		columns[i].salt = uint64(binding)<<8 + uint64(i)
		list = append(list, fmt.Sprintf(`{"name": "%s", "type": "%s"}`, columns[i].name, columns[i].kind))
	}
	t.columns = "[" + strings.Join(list, ", ") + "]"
	t.sent = slices.SortedFunc(slices.Values(columns), func(a, b column) int {
		if d := len(a.name) - len(b.name); d != 0 {
			return d
		}
		return strings.Compare(a.name, b.name)
	})
	return t
}

var (
	id     = column{name: "id", kind: "int8"}
	sentAt = column{name: "sent_at", kind: "int8"}
	total  = column{name: "total", kind: "numeric"}

	payments = newTable("payments", bindingID, id, sentAt, total, text("note", sometimes(50, words(3, 25))))

	orders = newTable("orders", bindingID+1, id, sentAt,
		text("status", oneOf("shipped", "open", "returned", "paid", "cancelled")), total,
		text("currency", oneOf("EUR", "USD", "JPY", "CHF")), column{name: "quantity", kind: "int4", value: integer(40)},
		column{name: "paid", kind: "bool", value: boolean}, text("note", sometimes(50, words(5, 40))),
		column{name: "tags", kind: "_text", value: list(0, 5, words(1, 2))},
		column{name: "address", kind: "jsonb", value: address},
		column{name: "created_at", kind: "timestamptz", value: instant}, column{name: "updated_at", kind: "timestamptz", value: instant})

	products = newTable("products", bindingID+2, id, sentAt, total,
		text("sku", code(12)), text("name", words(2, 8)), text("subtitle", sometimes(40, words(3, 12))), text("description", words(20, 200)),
		text("brand", words(1, 2)), text("maker", words(1, 3)), text("country", oneOf("DE", "FR", "JP", "US", "EG")),
		column{name: "categories", kind: "_text", value: list(1, 4, words(1, 2))}, column{name: "keywords", kind: "_text", value: list(0, 12, words(1, 2))},
		column{name: "attributes", kind: "jsonb", value: document}, column{name: "media", kind: "jsonb", value: list(0, 4, address)},
		column{name: "price", kind: "numeric", value: decimal(8, 2)}, column{name: "cost", kind: "numeric", value: decimal(20, 18)},
		column{name: "rate", kind: "numeric", value: decimal(1, 40)},
		column{name: "weight", kind: "float8", value: double(100)}, column{name: "width", kind: "float8", value: double(3)},
		column{name: "height", kind: "float8", value: double(3)}, column{name: "depth", kind: "float8", value: double(3)},
		column{name: "latitude", kind: "float8", value: sometimes(50, double(90))}, column{name: "longitude", kind: "float8", value: sometimes(50, double(180))},
		column{name: "stock", kind: "int4", value: integer(10_000)}, column{name: "reserved", kind: "int4", value: integer(100)},
		column{name: "sold", kind: "int8", value: integer(10_000_000)}, column{name: "views", kind: "int8", value: integer(1_000_000_000)},
		column{name: "rating", kind: "float8", value: sometimes(70, double(5))}, column{name: "active", kind: "bool", value: boolean},
		column{name: "digital", kind: "bool", value: boolean}, column{name: "fragile", kind: "bool", value: sometimes(60, boolean)},
		column{name: "owner_id", kind: "uuid", value: uuid}, column{name: "supplier_id", kind: "uuid", value: sometimes(60, uuid)},
		text("barcode", sometimes(80, code(13))), text("season", sometimes(30, oneOf("spring", "summer", "autumn", "winter"))),
		column{name: "released_on", kind: "date", value: sometimes(80, date)},
		column{name: "created_at", kind: "timestamptz", value: instant}, column{name: "updated_at", kind: "timestamptz", value: instant},
		column{name: "discontinued_at", kind: "timestamptz", value: sometimes(10, instant)}, text("remarks", sometimes(20, words(5, 60))))
)

func text(name string, value func(*rand.Rand) string) column {
	return column{name: name, kind: "text", value: value}
}

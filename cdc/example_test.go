package cdc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/cdc"
)

func ExampleAs() {
	payload := []byte(`{"ids": [106243155], "data": {
		"schema": "public", "table": "orders", "type": "UPDATE", "commit_timestamp": "2025-11-19T00:22:40.877Z",
		"columns": [{"name": "id", "type": "int8"}, {"name": "total", "type": "numeric"}, {"name": "paid_at", "type": "timestamptz"}, {"name": "terms", "type": "text"}],
		"record": {"id": 9007199254740993, "total": 1249.50, "paid_at": null},
		"old_record": {"id": 9007199254740993},
		"errors": null}}`)

	type Order struct {
		ID     int64
		Total  json.Number // or a decimal type
		PaidAt *time.Time
		Terms  string
	}
	change, _, err := cdc.Decode(payload)
	if err != nil {
		fmt.Println(err)
		return
	}
	event, err := cdc.As[Order](change)
	var incomplete *cdc.IncompleteError
	switch {
	case errors.As(err, &incomplete):
		fmt.Println("read the row from the table:", incomplete.Reason)
		return
	case err != nil:
		fmt.Println(err)
		return
	}
	fmt.Println(event.Op, event.Table, event.New.ID, event.New.Total)
	fmt.Println("paid:", event.New.PaidAt != nil)
	fmt.Println("as before:", event.Missing) // Terms is not known to be empty
	fmt.Println("not known of the old row:", event.OldMissing())
	// Output:
	// UPDATE orders 9007199254740993 1249.50
	// paid: false
	// as before: [terms]
	// not known of the old row: [total paid_at terms]
}

func ExampleFilter() {
	f := cdc.And(
		cdc.In("status", "new", "paid, not shipped"),
		cdc.Not(cdc.IsNull("customer_id")),
		cdc.Gte("total", 100),
	)
	fmt.Println(f, f.Err())
	fmt.Println(cdc.Eq("customer_id", nil).Err())
	// Output:
	// status=in.(new,"paid, not shipped"),customer_id=not.is.null,total=gte.100 <nil>
	// cdc: filter on column "customer_id": nil is no value: use IsNull or Not(IsNull)
}

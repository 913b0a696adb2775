package mockserver_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// FuzzInject holds that whatever is asked for, the server lives, and is well
// again when it is healed.
func FuzzInject(f *testing.F) {
	s, err := mockserver.New(mockserver.Config{InMemory: true})
	if err != nil {
		f.Fatal(err)
	}
	faults := s.Faults()
	_ = s.Close()
	for i, fault := range faults {
		params := map[string]json.RawMessage{}
		for _, p := range fault.Params {
			params[p.Name] = p.Default
		}
		raw, err := json.Marshal(params)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), raw)
		f.Add(uint8(i), []byte(needed[fault.Name]))
		f.Add(uint8(i), []byte(`{"times":-1,"by":"23h","for":"24h","status":204,"header":{"a b":"c\nd"},"body":"x","rows":-5,"bytes":1}`))
	}
	f.Add(uint8(0), []byte(`{"socket":-1}`))
	f.Fuzz(func(t *testing.T, kind uint8, params []byte) {
		fault := faults[int(kind)%len(faults)]
		bubble(t, mockserver.Config{Tables: []mockserver.Table{orders, secret}}, func(t *testing.T, s *mockserver.Server) {
			open(t, s, phoenix.V2).subscribed(1, "realtime:a", ordersBinding, "")
			err := s.Inject(mockserver.Fault{Name: fault.Name, Params: params})
			insert(t, s, 1)
			_, _, _, _ = get(t.Context(), s, "orders")
			time.Sleep(time.Second)
			if err == nil && fault.Name == "publish" {
				return // which is no fault that heals
			}
			s.Heal()
			time.Sleep(24*time.Hour + time.Minute) // for what was held up
			c := open(t, s, phoenix.V2)
			c.subscribed(1, "realtime:a", ordersBinding, "")
			insert(t, s, 2)
			c.gets(2)
			restCall{path: "orders?select=id&id=eq.2", as: "anon", want: `[{"id":2}]`}.check(t, s)
		})
	})
}

package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// A stream of typed events. The mock server stands in for a project.
func Example() {
	cfg := mockserver.Demo()
	cfg.InMemory, cfg.Timing = true, mockserver.Fast()
	server, err := mockserver.New(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()

	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: server.HTTPClient()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(context.Background())
	room, err := client.Channel("customers")
	if err != nil {
		fmt.Println(err)
		return
	}
	customers, err := room.Subscribe(channel.Binding{Table: "customers", Filter: cdc.Neq("city", "Porto")})
	if err != nil {
		fmt.Println(err)
		return
	}
	type Customer struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
		City string `json:"city"`
	}
	for change, err := range customers.Changes(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if change.Gap != nil {
			fmt.Println(change.Gap)
			_ = server.Insert("customers", mockserver.Row{"id": 3, "name": "Cid", "city": "Porto"})
			_, _ = server.Update("customers", mockserver.Row{"city": "Oslo"}, mockserver.Row{"id": 1})
			continue
		}
		event, err := cdc.As[Customer](change)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%v: %+v, before %+v\n", event.Op, event.New, event.Old)
		return
	}
	// Output:
	// gap: started
	// UPDATE: {ID:1 Name:Ann City:Oslo}, before {ID:1 Name:Ann City:Bergen}
}

// A token source of one's own. IsPermanent and Permanent say which errors end
// the channels.
func ExampleTokenSource() {
	var source realtime.TokenSource = mySource
	_, err := realtime.New(realtime.Options{URL: "https://ref.supabase.co", Key: "sb_publishable_…", Token: source})
	fmt.Println(err)
	// Output: <nil>
}

func mySource(ctx context.Context) (token string, expiry time.Time, err error) {
	// Ask an identity provider here. The expiry may be left zero: the token's
	// own exp claim counts.
	return "", time.Time{}, realtime.Permanent(errors.New("the account has been closed"))
}

package realtime_test

import (
	"context"
	"fmt"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// A broadcast that is acknowledged, and the stream in which it comes: the sender's
// own, by SelfBroadcasts.
func Example_broadcast() {
	server, err := mockserver.New(mockserver.Config{InMemory: true, Timing: mockserver.Fast()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx := context.Background()
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: server.HTTPClient()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(ctx)
	room, err := client.Channel("cursors", channel.SelfBroadcasts(), channel.AckBroadcasts(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	cursors, err := room.Listen("moved")
	if err != nil {
		fmt.Println(err)
		return
	}
	for b, err := range cursors.Broadcasts(ctx) {
		switch {
		case err != nil:
			fmt.Println(err)
			return
		case b.Gap != nil: // the stream has started
			fmt.Println(b.Gap)
			if err := room.Send(ctx, "moved", map[string]int{"x": 3, "y": 4}); err != nil {
				fmt.Println(err)
				return
			}
		default:
			fmt.Printf("%s %s\n", b.Event, b.Payload)
			return
		}
	}
	// Output:
	// gap: started
	// moved {"x":3,"y":4}
}

// Who is on a topic. Behind the first change, which starts the stream, stands
// the one that the channel itself has made.
func Example_presence() {
	server, err := mockserver.New(mockserver.Config{InMemory: true, Timing: mockserver.Fast()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx := context.Background()
	client, err := realtime.New(realtime.Options{URL: server.URL(), Key: server.AnonKey(), HTTPClient: server.HTTPClient()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(ctx)
	room, err := client.Channel("room", channel.WithPresenceKey("ann"))
	if err != nil {
		fmt.Println(err)
		return
	}
	presence, err := room.Presence()
	if err != nil {
		fmt.Println(err)
		return
	}
	for change, err := range presence.Changes(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if change.Gap != nil {
			fmt.Println(change.Gap, len(change.Joined), "present")
			if err := presence.Track(ctx, map[string]string{"status": "here"}); err != nil {
				fmt.Println(err)
				return
			}
			continue
		}
		for key, metas := range change.Joined {
			fmt.Println(key, "joined:", string(metas[0].Payload))
		}
		return
	}
	// Output:
	// gap: started 0 present
	// ann joined: {"status":"here"}
}

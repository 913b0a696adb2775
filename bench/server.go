package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// chunk is how many bytes of frames go into one write when the server floods.
const chunk = 64 << 10

// serve is the push server: it prints its address and serves until its process
// is killed.
func serve(events, perSecond int) error {
	s := newStream(events) // before a client's time counts
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return http.Serve(listener, pusher(s, perSecond))
}

// pusher sends the stream to each client that joins.
func pusher(s *stream, perSecond int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		defer conn.Close()
		if accept(conn) == nil {
			go push(conn, s, perSecond)
		}
		for accept(conn) == nil { // heartbeats, until the client has enough
		}
	}
}

// accept answers one message of a client.
func accept(conn net.Conn) error {
	text, err := wsutil.ReadClientText(conn)
	if err != nil {
		return err
	}
	m, err := phoenix.Decode(phoenix.V2, phoenix.FromClient, false, text)
	if err != nil {
		return err
	}
	response := []byte(`{}`)
	if m.Event == phoenix.EventJoin {
		if response, err = bindings(m.Payload); err != nil {
			return err
		}
	}
	if m.Ref == "" { // a raw loop's join
		return nil
	}
	reply := phoenix.Message{JoinRef: m.JoinRef, Ref: m.Ref, Topic: m.Topic, Event: phoenix.EventReply,
		Payload: fmt.Appendf(nil, `{"status":"ok","response":%s}`, response)}
	if err := send(conn, reply); err != nil || m.Event != phoenix.EventJoin {
		return err
	}
	return send(conn, phoenix.Message{JoinRef: m.JoinRef, Topic: m.Topic, Event: phoenix.EventSystem,
		Payload: []byte(`{"message":"Subscribed to PostgreSQL","status":"ok","extension":"postgres_changes","channel":"shop"}`)})
}

// bindings returns the bindings of a join with ids.
func bindings(join []byte) ([]byte, error) {
	var payload struct {
		Config struct {
			Bindings []map[string]any `json:"postgres_changes"`
		} `json:"config"`
	}
	if err := json.Unmarshal(join, &payload); err != nil {
		return nil, err
	}
	for _, b := range payload.Config.Bindings {
		for _, t := range []table{payments, orders, products} {
			if b["table"] == t.name {
				b["id"] = t.binding
			}
		}
	}
	return json.Marshal(map[string]any{"postgres_changes": payload.Config.Bindings})
}

func send(conn net.Conn, m phoenix.Message) error {
	text, _, err := phoenix.Append(nil, phoenix.V2, phoenix.FromServer, m)
	if err != nil {
		return err
	}
	return wsutil.WriteServerText(conn, text)
}

// push sends the stream: as fast as the socket takes it, or so many a second.
func push(conn net.Conn, s *stream, perSecond int) {
	if perSecond > 0 {
		pace(conn, s, perSecond)
		return
	}
	for rest := s.wire; len(rest) > 0; {
		n := min(chunk, len(rest))
		if _, err := conn.Write(rest[:n]); err != nil {
			return // a client that is gone has nothing to complain of
		}
		rest = rest[n:]
	}
}

func pace(conn net.Conn, s *stream, perSecond int) {
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	for i := range s.ends {
		<-ticker.C
		if _, err := conn.Write(s.frame(i, time.Now().UnixNano())); err != nil {
			return
		}
	}
}

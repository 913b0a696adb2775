package realtime_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/mockserver"
)

// A database that restarts, or whose connections are terminated, makes the
// server refuse what has worked in words that look final. No channel that has
// been live ends by that.
func TestDatabaseTrouble_EndsNoChannel(t *testing.T) {
	for name, trouble := range map[string]func(*mockserver.Server){
		"restart":                    func(s *mockserver.Server) { s.RestartDatabase(20 * time.Second); s.CrashChannels() },
		"restart, sockets killed":    func(s *mockserver.Server) { s.RestartDatabase(20 * time.Second); s.KillSockets() },
		"terminated connections":     func(s *mockserver.Server) { s.TerminateConnections(2); s.CrashChannels() },
		"terminated, sockets killed": func(s *mockserver.Server) { s.TerminateConnections(4); s.KillSockets() },
		"terminated, channels closed": func(s *mockserver.Server) {
			s.TerminateConnections(2)
			s.CloseChannels("You do not have permissions to read from this Channel topic: one")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newProject(t, mockserver.Config{Tables: []mockserver.Table{
					{Name: "orders", Columns: []mockserver.Column{{Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}}}})
				client := p.user("a", "2.0.0")
				var rooms []*channel.Channel
				for _, topic := range []string{"one", "two"} {
					ch, err := client.Channel(topic, channel.Private())
					require.NoError(t, err)
					_, err = ch.Subscribe(channel.Binding{Table: "orders"})
					require.NoError(t, err)
					require.NoError(t, ch.WaitLive(t.Context()))
					rooms = append(rooms, ch)
				}
				for range 3 {
					trouble(p.srv)
					time.Sleep(2 * time.Minute)
					for _, ch := range rooms {
						require.Equal(t, channel.Status{State: channel.Live}, ch.Status(), ch.Topic())
					}
				}
			})
		})
	}
}

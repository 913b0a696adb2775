package mockserver_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// What a schema file says of channels are policies for reading and writing.
func TestSchemaChannels(t *testing.T) {
	ann := mockserver.Claims{"role": "authenticated", "sub": "1111", "app_metadata": map[string]any{"team": "red"}}
	anon := mockserver.Claims{"role": "anon"}
	cfg, err := mockserver.LoadSchema(strings.NewReader(`{"channels":[
		{"topic":"room:*"},
		{"topic":"user:{sub}"},
		{"topic":"team:{app_metadata.team}:*"},
		{"topic":"lobby","roles":["anon"]},
		{"topic":"news","read_only":true,"extensions":["broadcast"]}
	]}`))
	require.NoError(t, err)
	for _, c := range []struct {
		topic  string
		claims mockserver.Claims
		want   bool
	}{
		{"room:1", ann, true},
		{"room:", ann, true},
		{"room", ann, false},
		{"room:1", anon, false},
		{"user:1111", ann, true},
		{"user:11112", ann, false},
		{"user:", ann, false},
		{"user:", mockserver.Claims{"role": "authenticated", "sub": ""}, false},
		{"team:red:x", ann, true},
		{"team:blue:x", ann, false},
		{"lobby", anon, true},
		{"lobby", ann, false},
		{"lobby:1", anon, false},
	} {
		for _, extension := range []string{mockserver.ExtensionBroadcast, mockserver.ExtensionPresence} {
			require.Equal(t, c.want, cfg.Messages.Read(c.topic, extension, c.claims), "%s %v", c.topic, c.claims)
			require.Equal(t, c.want, cfg.Messages.Write(c.topic, extension, c.claims), "%s %v", c.topic, c.claims)
		}
	}
	require.True(t, cfg.Messages.Read("news", mockserver.ExtensionBroadcast, ann))
	require.False(t, cfg.Messages.Read("news", mockserver.ExtensionPresence, ann))
	require.False(t, cfg.Messages.Write("news", mockserver.ExtensionBroadcast, ann))
	cfg, err = mockserver.LoadSchema(strings.NewReader(`{"channels":[]}`))
	require.NoError(t, err)
	require.False(t, cfg.Messages.Read("room:1", mockserver.ExtensionBroadcast, ann), "an empty list lets nobody in")
	cfg, err = mockserver.LoadSchema(strings.NewReader(`{}`))
	require.NoError(t, err)
	require.Nil(t, cfg.Messages.Read)
}

package mockserver_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

func TestSchemaChannels(t *testing.T) {
	ann := mockserver.Claims{"role": "authenticated", "sub": "1111", "app_metadata": map[string]any{"team": "red"}}
	anon := mockserver.Claims{"role": "anon"}
	cfg, err := mockserver.LoadSchema(strings.NewReader(`{"channels":[
		{"topic":"room:*"},
		{"topic":"user:{sub}"},
		{"topic":"team:{app_metadata.team}:*"},
		{"topic":"lobby","roles":["anon"]}
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
		require.Equal(t, c.want, cfg.Channels(c.topic, c.claims), "%s %v", c.topic, c.claims)
	}
	cfg, err = mockserver.LoadSchema(strings.NewReader(`{"channels":[]}`))
	require.NoError(t, err)
	require.False(t, cfg.Channels("room:1", ann), "an empty list lets nobody in")
	cfg, err = mockserver.LoadSchema(strings.NewReader(`{}`))
	require.NoError(t, err)
	require.Nil(t, cfg.Channels)
}

package realtime_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/realtime"
)

func TestClient_Identity(t *testing.T) {
	sign := func(c jwt.MapClaims) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte("secret"))
		require.NoError(t, err)
		return token
	}
	source := func(token string, err error) realtime.TokenSource {
		return func(context.Context) (string, time.Time, error) { return token, time.Now().Add(time.Hour), err }
	}
	const project = "https://ref.supabase.co"
	for name, c := range map[string]struct {
		o    realtime.Options
		want realtime.Identity
	}{
		"a user":            {realtime.Options{URL: project + "/", Key: "k", Token: source(sign(jwt.MapClaims{"role": "authenticated", "sub": "a user's id"}), nil)}, realtime.Identity{Project: project, Role: "authenticated", Subject: "a user's id"}},
		"a legacy key":      {realtime.Options{URL: "wss://ref.supabase.co/realtime/v1", Key: sign(jwt.MapClaims{"role": "service_role"})}, realtime.Identity{Project: project, Role: "service_role"}},
		"a publishable key": {realtime.Options{URL: project, Key: "sb_publishable_x"}, realtime.Identity{Project: project, Role: "anon"}},
		"a secret key":      {realtime.Options{URL: project, Key: "sb_secret_x"}, realtime.Identity{Project: project, Role: "service_role"}},
		"no JWT":            {realtime.Options{URL: project, Key: "k"}, realtime.Identity{Project: project}},
		"other claims":      {realtime.Options{URL: project, Key: sign(jwt.MapClaims{"role": 1, "sub": []int{2}})}, realtime.Identity{Project: project}},
		"a server":          {realtime.Options{URL: "ws://host:4000/socket", Key: "k"}, realtime.Identity{Project: "ws://host:4000/socket/websocket"}},
	} {
		got, err := open(t, c.o).Identity(t.Context())
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	failed := errors.New("away")
	_, err := open(t, realtime.Options{URL: project, Key: "k", Token: source("", realtime.Permanent(failed))}).Identity(t.Context())
	require.ErrorIs(t, err, failed)
}

package secret_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/secret/secrettest"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
	"github.com/gapless-go/gapless/realtime/signin"
)

// Every exported type of this module that holds a key, token or password hides
// it in every format.
func TestModule_NothingPrintsASecret(t *testing.T) {
	o := secrettest.Fill[realtime.Options]()
	o.URL = "https://ref.test/?apikey=" + secrettest.Marker
	o.Token = func(context.Context) (string, time.Time, error) { return secrettest.Marker, time.Time{}, nil }
	client, err := realtime.New(*o)
	require.NoError(t, err)
	defer client.Close(context.Background())
	_, err = client.Token(t.Context())
	require.NoError(t, err)

	account := secrettest.Fill[signin.Options]()
	account.URL, account.Email = "https://ref.test", "a@b.c"
	source, err := signin.New(*account)
	require.NoError(t, err)

	config := secrettest.Fill[mockserver.Config]()
	config.Users = []mockserver.User{{Email: "a@b.c", Password: secrettest.Marker}}
	server := mockserver.Start(t, mockserver.Config{JWTSecret: secrettest.Marker + secrettest.Marker + secrettest.Marker, Users: config.Users})

	values := []any{o, client, account, source, config, secrettest.Fill[mockserver.User](), server}
	for _, v := range values {
		secrettest.Hides(t, v, false)
	}
	secrettest.Complete(t, "../..", values,
		"deliver.Letter", "cache.RowError", // the key of a value, and of a row
		"postgres.ClusterOptions", "postgres.Options", // which have such a test in their own package
	)
}

package signin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/secret"
)

func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"a","refresh_token":"r","expires_in":3600}`))
	f.Add(400, []byte(`{"code":400,"error_code":"invalid_credentials","msg":"Invalid login credentials"}`))
	f.Add(400, []byte(`{"error":"invalid_grant","error_description":"x"}`))
	f.Add(403, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if got, err := parseSession(body); err == nil {
			require.NotEmpty(t, got.AccessToken)
			require.NoError(t, secret.Check(got.AccessToken))
		}
		r := parseRefusal(status, "application/json", body)
		require.False(t, r.own() && r.status >= 500)
		err := secret.Scrub(r)
		require.Less(t, len(err.Error()), 400)
		require.NotContains(t, err.Error(), "\n")
	})
}

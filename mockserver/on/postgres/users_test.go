package postgres_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// signIn is what the Auth API answers with.
type signIn struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	User         struct {
		ID, Email, Role string
		AppMetadata     map[string]any `json:"app_metadata"`
	}
}

func (r reply) signIn(t testing.TB) (s signIn) {
	t.Helper()
	require.Equal(t, 200, r.status, r.body)
	require.NoError(t, json.Unmarshal([]byte(r.body), &s))
	return s
}

func TestUsers(t *testing.T) {
	t.Parallel()
	s := startProject(t, shop, mockserver.Fast())
	anon, service := api{t: t, s: s}, api{t, s, s.ServiceKey()}
	const ann = `{"email":"Ann@example.com","password":"it's \"secret\"; --","app_metadata":{"team":"red"}}`
	require.Equal(t, 403, anon.do("POST", "/auth/v1/admin/users", ann).status)
	require.Equal(t, 200, service.do("POST", "/auth/v1/admin/users", ann).status)
	require.Equal(t, 422, service.do("POST", "/auth/v1/admin/users", ann).status)
	require.Equal(t, 400, service.do("POST", "/auth/v1/admin/users", `{"email":"b@example.com","password":"`+strings.Repeat("x", 100)+`"}`).status)
	require.True(t, strings.HasPrefix(ask(t, s.DatabaseURL(), "select encrypted_password from auth.users"), "$2a$04$"))

	for _, body := range []string{
		`{"email":"ann@example.com","password":"wrong"}`, `{"email":"' or true; --","password":"x"}`, `{"phone":"","email":"","password":""}`,
	} {
		require.Contains(t, anon.do("POST", "/auth/v1/token?grant_type=password", body).body, "invalid_credentials")
	}
	first := anon.do("POST", "/auth/v1/token?grant_type=password", `{"email":"ann@EXAMPLE.com","password":"it's \"secret\"; --"}`).signIn(t)
	require.Equal(t, map[string]any{"team": "red"}, first.User.AppMetadata)

	// The token is the user's: its policies let the user write and read.
	user := api{t, s, first.AccessToken}
	user.do("POST", "/rest/v1/owned", `{"id":1}`).want(t, 201, "")
	user.do("GET", "/rest/v1/owned?select=owner", "").want(t, 200, `[{"owner":"`+first.User.ID+`"}]`)

	refresh := func(token string) reply {
		return anon.do("POST", "/auth/v1/token?grant_type=refresh_token", `{"refresh_token":"`+token+`"}`)
	}
	second := refresh(first.RefreshToken).signIn(t)
	require.Contains(t, refresh(first.RefreshToken).body, "refresh_token_already_used")
	require.Contains(t, refresh("unknown").body, "refresh_token_not_found")
	require.Equal(t, 200, user.do("GET", "/auth/v1/user", "").status)
	require.Equal(t, 204, user.do("POST", "/auth/v1/logout", "").status)
	require.Equal(t, 403, user.do("GET", "/auth/v1/user", "").status)
	require.Contains(t, refresh(second.RefreshToken).body, "refresh_token_not_found")

	require.Equal(t, 200, service.do("GET", "/auth/v1/admin/users/"+first.User.ID, "").status)
	require.Equal(t, 404, service.do("GET", "/auth/v1/admin/users/none", "").status)
	require.Equal(t, 200, service.do("DELETE", "/auth/v1/admin/users/"+first.User.ID, "").status)
	require.Equal(t, 404, service.do("DELETE", "/auth/v1/admin/users/"+first.User.ID, "").status)
}

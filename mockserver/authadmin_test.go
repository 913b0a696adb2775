package mockserver_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// A user that the service makes may sign in until it is removed, and nobody
// else makes or removes users.
func TestUsersAreMadeAndRemovedByTheService(t *testing.T) {
	s := mockserver.Start(t, mockserver.Config{})
	const eve = `{"email":"Eve@example.com","password":"pass word","email_confirm":true,"user_metadata":{"name":"Eve"}}`
	const credentials = `{"email":"eve@example.com","password":"pass word"}`

	for _, bearer := range []string{"", s.AnonKey(), s.UserToken("11111111-1111-4111-8111-111111111111", 1e12)} {
		status, body := auth(t, s, "POST", "admin/users", bearer, eve)
		require.Equal(t, http.StatusForbidden, status)
		require.Contains(t, body, `"error_code":"not_admin"`)
	}
	status, body := auth(t, s, "POST", "token?grant_type=password", "", credentials)
	require.Equal(t, http.StatusBadRequest, status, body)

	status, body = auth(t, s, "POST", "admin/users", s.ServiceKey(), eve)
	require.Equal(t, http.StatusOK, status, body)
	var made struct{ ID, Email string }
	require.NoError(t, json.Unmarshal([]byte(body), &made))
	require.Equal(t, "eve@example.com", made.Email)

	status, body = auth(t, s, "POST", "admin/users", s.ServiceKey(), strings.ToLower(eve))
	require.Equal(t, http.StatusUnprocessableEntity, status)
	require.Contains(t, body, `"error_code":"email_exists"`)
	status, body = auth(t, s, "POST", "admin/users", s.ServiceKey(), `{"email":"x@example.com"}`)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, `"error_code":"validation_failed"`)

	status, body = auth(t, s, "POST", "token?grant_type=password", "", credentials)
	in := sessionOf(t, status, body)
	require.Equal(t, made.ID, in.User.ID)
	require.Equal(t, map[string]any{"name": "Eve"}, claimsOf(t, in.AccessToken)["user_metadata"])

	status, body = auth(t, s, "GET", "admin/users/"+made.ID, s.ServiceKey(), "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"email":"eve@example.com"`)
	status, _ = auth(t, s, "GET", "admin/users/"+in.AccessToken, s.ServiceKey(), "")
	require.Equal(t, http.StatusNotFound, status)
	status, _ = auth(t, s, "DELETE", "admin/users/"+made.ID, s.AnonKey(), "")
	require.Equal(t, http.StatusForbidden, status)
	status, body = auth(t, s, "DELETE", "admin/users/"+made.ID, s.ServiceKey(), "")
	require.Equal(t, http.StatusOK, status, body)
	status, body = auth(t, s, "DELETE", "admin/users/"+made.ID, s.ServiceKey(), "")
	require.Equal(t, http.StatusNotFound, status, body)
	status, body = refresh(t, s, in.RefreshToken)
	require.Equal(t, http.StatusBadRequest, status, body)
	status, body = auth(t, s, "POST", "token?grant_type=password", "", credentials)
	require.Equal(t, http.StatusBadRequest, status, body)
}

package postgres_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// The seed file that projects pass around makes a user who can sign in.
func TestSeedOfUsers(t *testing.T) {
	t.Parallel()
	s := startProject(t, `
		insert into auth.users (instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, recovery_sent_at, last_sign_in_at,
			raw_app_meta_data, raw_user_meta_data, created_at, updated_at, confirmation_token, email_change, email_change_token_new, recovery_token)
		values ('00000000-0000-0000-0000-000000000000', extensions.uuid_generate_v4(), 'authenticated', 'authenticated', 'seed@example.com',
			crypt('password123', gen_salt('bf')), current_timestamp, current_timestamp, current_timestamp,
			'{"provider":"email","providers":["email"]}', null, current_timestamp, current_timestamp, '', '', '', '');
		insert into auth.identities (id, user_id, provider_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
			select gen_random_uuid(), id, id, format('{"sub":"%s","email":"%s"}', id::text, email)::jsonb, 'email', now(), now(), now() from auth.users`, mockserver.Fast())
	anon := api{t, s, s.AnonKey()}
	r := anon.do(http.MethodPost, "/auth/v1/token?grant_type=password", `{"email":"seed@example.com","password":"password123"}`)
	require.Equal(t, 200, r.status, r.body)
	require.Equal(t, "seed@example.com", ask(t, s.DatabaseURL(), "select email from auth.identities"))
}

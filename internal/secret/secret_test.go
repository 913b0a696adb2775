package secret_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/secret"
)

type options struct {
	URL      string
	Key      string
	Header   http.Header
	Attempts int
	Hook     func()
	inner    string
}

func (o options) Format(s fmt.State, _ rune) { secret.Format(s, o) }

func TestText(t *testing.T) {
	o := options{URL: "https://user:pw@ref.test/?apikey=k1234567&x=1", Key: "k1234567", Header: http.Header{"A": {"k1234567"}}, Attempts: 3, Hook: func() {}, inner: "k1234567"}
	const want = "secret_test.options{URL:https://[redacted]@ref.test/?apikey=[redacted]&x=1 Key:[redacted] Header:[redacted] Attempts:3 Hook:(set)}"
	require.Equal(t, want, secret.Text(o))
	require.Equal(t, want, secret.Text(&o))
	require.Equal(t, "<nil>", secret.Text((*options)(nil)))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.Equal(t, want, fmt.Sprintf(verb, o), verb)
	}
}

func TestNamed(t *testing.T) {
	for _, name := range []string{"Key", "APIKey", "PrivateKey", "Token", "RefreshToken", "Password", "JWTSecret", "DSN", "DatabaseURL", "Header"} {
		require.True(t, secret.Named(name), name)
	}
	for _, name := range []string{"URL", "PublicKey", "PrimaryKey", "Keys", "Table"} {
		require.False(t, secret.Named(name), name)
	}
}

func TestScrub(t *testing.T) {
	require.Equal(t, context.Canceled, secret.Scrub(&url.Error{Op: "Get", URL: "http://x?apikey=KEY", Err: context.Canceled}, "KEY"))
	wrapped := fmt.Errorf("parse %q\n: %w", "https://a b/?q=KEY%2Fx&t=of a patient", context.DeadlineExceeded)
	err := secret.Scrub(wrapped, "KEY/x", "t=of a patient")
	require.EqualError(t, err, `parse "https://a b/?q=[redacted]&[redacted]" : context deadline exceeded`)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, errors.Unwrap(err))
	require.Less(t, len(secret.Scrub(errors.New(strings.Repeat("x", 1<<20))).Error()), 400)
}

func TestCheck(t *testing.T) {
	require.NoError(t, secret.Check("sb_publishable_x-y.…"))
	for _, bad := range []string{"key\n", " kEy", "k\x00ey", "k\xffy", "k\u00a0y", "key\r"} {
		err := secret.Check(bad)
		require.Error(t, err)
		require.NotContains(t, err.Error(), bad)
	}
	require.NoError(t, secret.CheckHeader(http.Header{"X-Tenant": {"größe\tb", ""}}))
	for name, value := range map[string]string{"X\n": "", "": "", "a b": "", "X-A": "v\r\nX-B: w", "X-B": "\x00", "a:b": "x"} {
		err := secret.CheckHeader(http.Header{name: {value}})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "\n")
	}
}

package origin_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/origin"
)

func TestIsOwnHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost:8899": true, "localhost": true, "LOCALHOST.": true, "app.localhost:1": true,
		"127.0.0.1:8899": true, "[::1]:8899": true, "[::1]": true, "192.168.1.7": true,
		"devbox:8899": true, "DevBox": true,
		"evil.test": false, "evil.test:8899": false, "localhost.evil.test": false, "127.0.0.1.evil.test": false, "": false,
		"devbox.evil.test": false, "notlocalhost": false,
	} {
		require.Equal(t, want, origin.IsOwnHost(host, "devbox"), host)
	}
	require.False(t, origin.IsOwnHost("", ""))
}

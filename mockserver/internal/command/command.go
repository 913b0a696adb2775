// Package command is the command mockserver: one program for tables in memory and
// for a real PostgreSQL, under two paths.
package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/gapless-go/gapless/mockserver"
)

// Main runs the command with the program's arguments behind those given, until it
// is interrupted, and ends the program.
func Main(args ...string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, append(args, os.Args[1:]...), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run serves until ctx ends, and returns the exit status. The flag -postgres
// decides what the others mean.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	i := slices.IndexFunc(args, func(a string) bool { return a == "-postgres" || a == "--postgres" })
	if i < 0 {
		return inMemory(ctx, args, out, errOut)
	}
	return onPostgres(ctx, slices.Delete(slices.Clone(args), i, i+1), out, errOut)
}

// tokenLifetime is how long the printed tokens are good for: a working day.
const tokenLifetime = 12 * time.Hour

// announce prints where the server is, its keys and a token for each user.
func announce(out io.Writer, s *mockserver.Server, database string, users ...mockserver.User) {
	fmt.Fprintf(out, "project URL:     %s\n", s.URL())
	fmt.Fprintf(out, "websocket URL:   %s\n", s.WebsocketURL())
	fmt.Fprintf(out, "inspector:       %s/inspect/\n", s.URL())
	if database != "" {
		fmt.Fprintf(out, "database URL:    %s\n", database)
	}
	fmt.Fprintf(out, "publishable key: %s\n", s.PublishableKey())
	fmt.Fprintf(out, "secret key:      %s\n", s.SecretKey())
	fmt.Fprintf(out, "anon key:        %s\n", s.AnonKey())
	fmt.Fprintf(out, "service key:     %s\n", s.ServiceKey())
	for _, u := range users {
		fmt.Fprintf(out, "token of %s: %s\n", cmp.Or(u.Email, u.Phone), token(s, u))
	}
}

// token makes a token as signing in would.
func token(s *mockserver.Server, u mockserver.User) string {
	now := time.Now()
	claims := mockserver.Claims{}
	maps.Copy(claims, u.Claims)
	maps.Copy(claims, mockserver.Claims{
		"sub": u.ID, "role": cmp.Or(u.Role, "authenticated"), "aud": "authenticated", "email": u.Email, "phone": u.Phone,
		"iat": now.Unix(), "exp": now.Add(tokenLifetime).Unix(),
	})
	return s.Sign(claims)
}

// Command mockserver serves a Supabase project on a real PostgreSQL. It is the
// command mockserver/cmd/mockserver with the flag -postgres, which describes it.
package main

import "github.com/gapless-go/gapless/mockserver/internal/command"

func main() { command.Main("-postgres") }

// Command push-notify tells people of changes to their orders. See README.md.
package main

import (
	"os"

	"github.com/gapless-go/gapless/examples/push-notify/push"
)

func main() { os.Exit(push.Main(os.Args[1:], nil)) }

// Command push-notify is the one beside it, with FCM. The devices of the kind fcm
// have registration tokens for addresses. The credentials are Google's default
// ones; PUSH_NOTIFY_FCM_PROJECT names the Firebase project if they do not.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/gapless-go/gapless/examples/push-notify/fcm"
	"github.com/gapless-go/gapless/examples/push-notify/push"
)

func main() {
	sender, err := fcm.New(context.Background(), os.Getenv("PUSH_NOTIFY_FCM_PROJECT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "push-notify:", err)
		os.Exit(1)
	}
	os.Exit(push.Main(os.Args[1:], push.Senders{"fcm": sender}))
}

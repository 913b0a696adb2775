package push

import (
	"context"
	"errors"
)

// Sender brings notifications to devices of one kind. It is safe for concurrent
// use.
type Sender interface {
	// Send blocks until the service has taken the notification, which is not yet
	// that the device shows it. An error that wraps ErrGone says that the device is
	// no more; one that wraps ErrRefused that no other try changes anything; every
	// other one is tried again. No error holds the device's address.
	Send(ctx context.Context, d Device, n Notification) error
}

var (
	// ErrGone is that a device does not exist any more.
	ErrGone = errors.New("the device is gone")
	// ErrRefused is that a notification will never be taken.
	ErrRefused = errors.New("the notification was refused")
)

// Senders are those there are, by Device.Kind.
type Senders map[string]Sender

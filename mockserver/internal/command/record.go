package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gapless-go/gapless/mockserver"
)

// passOn records to a new file until ctx ends.
func passOn(ctx context.Context, out io.Writer, path string, cfg mockserver.RecorderConfig) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("mockserver: %w", err)
	}
	defer func() {
		if closed := file.Close(); err == nil && closed != nil {
			err = fmt.Errorf("mockserver: %w", closed)
		}
	}()
	recorder, err := mockserver.NewRecorder(file, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "project URL:   %s\n", recorder.URL())
	fmt.Fprintf(out, "websocket URL: %s\n", recorder.WebsocketURL())
	fmt.Fprintf(out, "recording to:  %s\n", path)
	<-ctx.Done()
	return recorder.Close()
}

// play plays a recording to its end.
func play(ctx context.Context, out io.Writer, path string, cfg mockserver.PlayerConfig) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("mockserver: %w", err)
	}
	player, err := mockserver.NewPlayer(file, cfg)
	_ = file.Close() // it has been read
	if err != nil {
		return err
	}
	defer player.Close()
	fmt.Fprintf(out, "project URL:   %s\n", player.URL())
	fmt.Fprintf(out, "websocket URL: %s\n", player.WebsocketURL())
	fmt.Fprintf(out, "playing:       %s\n", path)
	err = player.Wait(ctx)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: interrupted", err)
	}
	if err == nil {
		fmt.Fprintln(out, "the client behaved as the recorded one did")
	}
	return err
}

// Package jobs runs what an example does at the same time.
package jobs

import (
	"context"
	"sync"
)

// Together runs jobs until all have returned. The first error ends the others.
func Together(ctx context.Context, jobs ...func(context.Context) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var running sync.WaitGroup
	for _, job := range jobs {
		running.Go(func() {
			if err := job(ctx); err != nil {
				fail(err)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

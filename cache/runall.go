package cache

import (
	"context"
	"fmt"
	"sync"

	"github.com/gapless-go/gapless/realtime"
)

// RunError is the end of a Table that ended Run.
type RunError struct {
	Table string // its String
	Err   error  // what its Run returned; nil: a computed Table was complete
}

func (e *RunError) Error() string { return fmt.Sprintf("cache: run of %s: %v", e.Table, e.Err) }

// Unwrap returns Err.
func (e *RunError) Unwrap() error { return e.Err }

// Run runs Tables, the computed ones among them. When one of them ends it ends the
// others, waits for them, and returns a *RunError; or ctx's error, if that came
// first.
func Run(ctx context.Context, tables ...AnyTable) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	var once sync.Once
	var err error
	for _, t := range tables {
		all.Go(func() {
			of := t.Run(running)
			once.Do(func() {
				if err = ctx.Err(); err == nil {
					err = &RunError{t.String(), of}
				}
			})
			stop()
		})
	}
	all.Wait()
	return err
}

// topics has the topic of each Table that is run. A client has one channel of a
// topic.
var topics sync.Map // of topicOf

type topicOf struct {
	client *realtime.Client
	topic  string
}

func errTopic(topic string) error {
	return fmt.Errorf("cache: topic %q: %w", topic, realtime.ErrTopicInUse)
}

// takeTopic takes the Table's topic until leave is called.
func (t *Table[K, T]) takeTopic() (leave func(), err error) {
	own := topicOf{t.client, t.opts.topic}
	if _, used := topics.LoadOrStore(own, true); used {
		return nil, errTopic(t.opts.topic)
	}
	return func() { topics.Delete(own) }, nil
}

package cache

// tombstones are removed keys with the time of their removal, forgotten when no
// read can bring the row back any more.
type tombstones[K comparable] struct {
	at    map[K]grave
	queue []buried[K] // in the order of time; a key may be in it several times
}

// grave is when a key was removed, and when that was committed, in Unix
// milliseconds of the database.
type grave struct {
	at        moment
	committed int64
}

type buried[K comparable] struct {
	key K
	at  moment
}

func (t *tombstones[K]) add(k K, g grave) {
	t.at[k] = g
	t.queue = append(t.queue, buried[K]{k, g.at})
}

func (t *tombstones[K]) remove(k K) { delete(t.at, k) }

func (t *tombstones[K]) clear() {
	clear(t.at)
	t.queue = nil
}

// forget drops what was removed before oldest.
func (t *tombstones[K]) forget(oldest moment) {
	n := 0
	for ; n < len(t.queue) && t.queue[n].at < oldest; n++ {
		if b := t.queue[n]; t.at[b.key].at == b.at {
			delete(t.at, b.key)
		}
	}
	if t.queue = t.queue[n:]; len(t.queue) == 0 {
		t.queue = nil
	}
}

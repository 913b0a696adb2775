package cache

import (
	"context"
)

func (s *source[K, T]) askDatabase(ctx context.Context) (bool, error) { return false, nil }

func (s *source[K, T]) chunk(ctx context.Context, after []string, n int, mark string) (page[K, T], error) {
	return page[K, T]{}, nil
}

func (t *Table[K, T]) checkDigest(ctx context.Context, do how) (f found, err error) {
	return t.checkKeys(ctx, do)
}

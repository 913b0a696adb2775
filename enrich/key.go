package enrich

// matchable reports whether a key equals itself. A NaN, and an array, a struct or an
// interface that contains one, does not: no map finds it again or deletes it. Such a
// key must not get into any.
func matchable[K comparable](k K) bool {
	again := k
	return k == again
}

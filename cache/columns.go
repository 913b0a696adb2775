package cache

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/internal/postgrest"
)

// asking makes a request for rows. Without WithColumns, all columns are asked for; a
// role that may not read all of them is refused that, and then those that T has are
// asked for.
func (s *source[K, T]) asking(get func(api *postgrest.Table) error) error {
	api := s.api
	if len(api.Columns) > 0 {
		return get(&api)
	}
	var denied error
	for {
		var narrowed int
		api.Columns, narrowed = s.shape.selection()
		err := get(&api)
		var refused *postgrest.Error
		if !errors.As(err, &refused) || refused.Code != "42501" && (refused.Code != "42703" || narrowed == 0) {
			return err
		}
		if refused.Code == "42501" {
			denied = err
		}
		if s.shape.narrow(narrowed) {
			continue
		}
		s.shape.widen() // for the next try
		if denied = cmp.Or(denied, err); narrowed > 0 {
			return fmt.Errorf("%w (all columns, and %s alone)", denied, strings.Join(api.Columns, ", "))
		}
		return denied
	}
}

// selection returns the columns to ask for, nil for all: at first all, then those
// that T has a field for, then those of them that it cannot do without.
func (s *shape) selection() (columns []string, narrowed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.choose(s.narrowed), s.narrowed
}

func (s *shape) choose(narrowed int) []string {
	switch {
	case narrowed == 1 && s.described != nil:
		names := make([]string, len(s.described))
		for i, c := range s.described {
			names[i] = c.Name
		}
		return names
	case narrowed == 1:
		return s.names
	case narrowed == 2:
		return s.required
	}
	return nil
}

// narrow asks for fewer columns, and reports whether there is another choice.
func (s *shape) narrow(than int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.narrowed > than {
		return true // another read has met the same
	}
	for n := than + 1; n <= 2; n++ {
		if next := s.choose(n); len(next) > 0 && !slices.Equal(next, s.choose(than)) {
			s.narrowed = n
			return true
		}
	}
	return false
}

// widen asks for all columns again, of a table that is another one.
func (s *shape) widen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.narrowed = 0
}

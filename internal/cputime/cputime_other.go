//go:build !unix

package cputime

import "time"

var began = time.Now()

// Used returns the time since the process began, since the processors' time is
// not at hand here.
func Used() time.Duration { return time.Since(began) }

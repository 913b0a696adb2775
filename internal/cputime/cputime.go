// Package cputime measures the processors' time of the process, by which a test
// bounds what a call costs. Other programs on the machine do not add to it, as
// they do to the time on the clock.
package cputime

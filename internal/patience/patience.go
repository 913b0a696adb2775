// Package patience decides whether a refusal is final. A status or a text alone
// cannot tell: a gateway answers 401, 403 or 404 while a project restarts, and
// Realtime calls a private join unauthorized when its connection to the
// database was just terminated. What has worked before counts for more.
package patience

import "time"

const (
	// answers and span are how many refusals there must be, and over how long a
	// time, before something that had worked counts as refused for good. A
	// project takes up to two minutes to restart.
	answers = 5
	span    = 3 * time.Minute
)

// Patience is the history of one thing that a server can refuse: the
// connection, the join of a topic, the reading of a table. The zero value has
// none. It is not safe for concurrent use.
type Patience struct {
	Strict bool // a refusal is final at once, whatever has worked before

	worked   bool
	first    time.Time // of the refusals since it last worked
	refusals int
}

// Worked notes a success. It makes the refusals before it count for nothing.
func (p *Patience) Worked() {
	p.worked, p.refusals = true, 0
}

// Refused notes a refusal that looks permanent, and reports whether it is
// final: at once if nothing has ever worked, and otherwise when it has persisted
// for minutes. Errors that pass by themselves are no refusals and are not noted.
func (p *Patience) Refused(now time.Time) (final bool) {
	if p.refusals == 0 {
		p.first = now
	}
	p.refusals++
	if p.Strict || !p.worked {
		return true
	}
	return p.refusals >= answers && now.Sub(p.first) >= span
}

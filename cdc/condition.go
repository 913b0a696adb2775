package cdc

import "slices"

// Condition is one of the conditions of a Filter, in a form that other languages
// than Realtime's can be made of. Its JSON is what the functions of package
// cache/sql take.
type Condition struct {
	Column string `json:"column"`
	// Op is eq, neq, lt, lte, gt, gte, like, ilike, match, imatch, isdistinct, in
	// or is.
	Op string `json:"op"`
	// Values are texts as PostgreSQL reads them for the type of the column, not
	// quoted; of is, null, true, false or unknown. There is one, but for in.
	Values []string `json:"values"`
	Not    bool     `json:"not,omitempty"`
}

// Conditions returns the conditions, all of which a row must meet; nil for the
// zero Filter. The error is that of Err.
func (f Filter) Conditions() ([]Condition, error) {
	var all []Condition
	for _, c := range f.conditions {
		all = append(all, Condition{Column: c.column, Op: c.op, Values: slices.Clone(c.values), Not: c.not})
	}
	return all, f.err
}

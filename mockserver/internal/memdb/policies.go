package memdb

import "github.com/gapless-go/gapless/mockserver/internal/project"

// Policies are the row level security policies of a table, as those of Table
// are. One that is nil allows nothing.
type Policies struct {
	Select, Insert, Update, Delete Policy
}

// setPolicies makes the table ask whichever policies it has at the time.
func (t *table) setPolicies(p Policies) {
	t.policies.Store(&p)
	t.selects = func(c project.Claims, r Row) bool { return t.policies.Load().Select.allows(c, r) && !t.hides(r) }
	t.inserts = func(c project.Claims, r Row) bool { return t.policies.Load().Insert.allows(c, r) }
	t.updates = func(c project.Claims, r Row) bool { return t.policies.Load().Update.allows(c, r) }
	t.deletes = func(c project.Claims, r Row) bool { return t.policies.Load().Delete.allows(c, r) }
}

func (p Policy) allows(claims project.Claims, r Row) bool { return p != nil && p(claims, r) }

// hides reports whether the row is one that HideRows is about.
func (t *table) hides(r Row) bool {
	where := t.hidden.Load()
	if where == nil {
		return false
	}
	values := make(row, len(t.columns))
	for i := range *where {
		var err error
		if values[i], err = t.columns[i].Type.Datum(r[t.columns[i].Name]); err != nil {
			return false
		}
	}
	return t.matches(values, *where)
}

package mockserver

import "fmt"

// Policies are the row level security policies of a table, as those of Table
// are. One that is nil allows nothing.
type Policies struct {
	Select, Insert, Update, Delete Policy
}

// SetPolicies puts other policies in the place of those that a table has, and
// switches row level security on where it was off. What is read after that is
// subject to them, and so are changes that were made before and have not been
// delivered yet. As with a real server, no message tells of rows that appear or
// disappear by it.
func (s *Server) SetPolicies(table string, p Policies) error {
	t, err := s.db.lookup(table)
	if err != nil {
		return err
	}
	t.policies.Store(&p)
	t.rls.Store(true)
	return nil
}

// HideRows hides the rows whose columns equal those of where from the roles
// that row level security applies to, as if the policy for reading had changed:
// no message tells of it. It replaces what was hidden of the table before; an
// empty where hides nothing. The error says that the table has no row level
// security, or what where names wrongly.
func (s *Server) HideRows(table string, where Row) error {
	t, err := s.db.lookup(table)
	if err != nil {
		return err
	}
	values, err := t.datums(where)
	if err != nil {
		return err
	}
	if len(values) == 0 {
		t.hidden.Store(nil)
		return nil
	}
	for i, v := range values {
		if v != nil && !t.columns[i].Type.Comparable() {
			return noEquality(t.columns[i].Type).At(t.fullName(), t.columns[i].Name)
		}
	}
	if !t.rls.Load() {
		return fmt.Errorf("mockserver: table %s: it has no row level security, so no rows of it can be hidden", t.fullName())
	}
	t.hidden.Store(&values)
	return nil
}

// setPolicies makes the table ask whichever policies it has at the time.
func (t *table) setPolicies(p Policies) {
	t.policies.Store(&p)
	t.selects = func(c Claims, r Row) bool { return t.policies.Load().Select.allows(c, r) && !t.hides(r) }
	t.inserts = func(c Claims, r Row) bool { return t.policies.Load().Insert.allows(c, r) }
	t.updates = func(c Claims, r Row) bool { return t.policies.Load().Update.allows(c, r) }
	t.deletes = func(c Claims, r Row) bool { return t.policies.Load().Delete.allows(c, r) }
}

func (p Policy) allows(claims Claims, r Row) bool { return p != nil && p(claims, r) }

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

package memdb

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/garblings"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// columnOf describes a column of the tables of garblings; false: this server has
// no such types.
func columnOf(c garblings.Column) (pgtype.Column, bool) {
	of := pgtype.Column{Name: "v", Type: c.Of}
	switch c.Of {
	case "mood":
		of.Enum = []string{"ok", "not so", "null", "NaN"}
	case "pair":
		of.Composite = []pgtype.Column{{Name: "n", Type: "float8"}, {Name: "s", Type: "text"}}
	case "kept":
		of.Composite = []pgtype.Column{{Name: "c", Type: "char(3)"}, {Name: "b", Type: "bit(4)"}, {Name: "n", Type: "numeric"}, {Name: "y", Type: "bytea"}, {Name: "j", Type: "jsonb"}}
	}
	userMade := of.Enum != nil || of.Composite != nil
	switch c.Shape {
	case garblings.Array:
		of.Type += "[]"
	case garblings.Domain, garblings.DomainOverArray:
		if userMade {
			return of, false
		}
		of.Domain, of.Type = c.Of, c.Name
		if c.Shape == garblings.DomainOverArray {
			of.Domain += "[]"
		}
		of.Type = `"` + of.Type + `"`
	case garblings.DomainArray:
		return of, false
	case garblings.Composite:
		return pgtype.Column{Name: "v", Type: `"` + c.Name + `"`, Composite: []pgtype.Column{of}}, true
	}
	return of, true
}

// Of each value of each type, this server sends what the tables say that a real
// one does, or refuses the type.
func TestGarblings_AsSent(t *testing.T) {
	refused := map[string]bool{}
	n := 0
	for _, v := range garblings.Values() {
		described, ok := columnOf(v.Column)
		if !ok || v.Garbling == garblings.Bounds {
			continue
		}
		typ, err := pgtype.ParseType(described)
		if err != nil {
			refused[v.Of] = true
			continue
		}
		if v.Of == "json" && strings.Contains(v.Output, "ud800") {
			continue // half a surrogate pair, which PostgreSQL keeps and this server does not take
		}
		d, err := typ.Parse(v.Output)
		if err != nil {
			t.Errorf("%v %q: %v", v.Column, v.Output, err)
			continue
		}
		wire, err := wireJSON(typ, d)
		var e *pgtype.Error
		if v.Garbling == garblings.Lost {
			if !errors.As(err, &e) || e.Code != v.Wire[1:] {
				t.Errorf("%v %q: wire %s, error %v, want %s", v.Column, v.Output, wire, err, v.Wire)
			}
		} else if string(wire) != v.Wire {
			t.Errorf("%v %q: wire %s, want %s", v.Column, v.Output, wire, v.Wire)
		}
		if got := string(typ.JSON(d)); got != v.REST && strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(v.REST, " ", "") {
			t.Errorf("%v %q: REST %s, want %s", v.Column, v.Output, got, v.REST)
		}
		n++
	}
	require.Greater(t, n, 1000)
	require.Equal(t, map[string]bool{"hstore": true, "int2vector": true, "oidvector": true, "regproc": true, "regoper": true, "box": true}, refused)
}

// Filters on the types that this server knows do what the tables say: where
// the server refuses, this one does, and where it fails, this one does.
func TestGarblings_Filters(t *testing.T) {
	wires := map[garblings.Column][]string{}
	outputs := map[garblings.Column][]string{}
	for _, v := range garblings.Values() {
		if v.Garbling != garblings.Lost {
			wires[v.Column], outputs[v.Column] = append(wires[v.Column], v.Wire), append(outputs[v.Column], v.Output)
		}
	}
	n := 0
	for _, f := range garblings.Filters() {
		described, ok := columnOf(f.Column)
		if !ok {
			continue
		}
		tab := Table{Name: "t", Columns: []pgtype.Column{{Name: "id", Type: "int8"}, described}, PrimaryKey: []string{"id"}}
		if _, err := pgtype.ParseType(described); err != nil {
			continue
		}
		verdict := tryFilters(t, tab, f, outputs[f.Column], wires[f.Column])
		want := f.Verdict
		if want == garblings.Differs {
			want = garblings.Works
		}
		if f.Operator == "in" && f.Shape == garblings.Array && verdict != garblings.Works && want != garblings.Works {
			continue // which of the two depends on whether the list's text is one of elements
		}
		if f.Name == "bytea" && strings.HasSuffix(f.Operator, "like") {
			continue // a pattern of hexadecimal digits: this server does not fail of its backslash
		}
		if verdict != want {
			t.Errorf("%v %s: %s, want %s", f.Column, f.Operator, verdict, f.Verdict)
		}
		n++
	}
	require.Greater(t, n, 3000)
}

// tryFilters returns the worst that becomes of filters.
func tryFilters(t *testing.T, described Table, f garblings.Filter, outputs, wires []string) garblings.Verdict {
	tab, err := newTable(described)
	require.NoError(t, err)
	verdict := garblings.Refused
	for _, value := range outputs {
		switch {
		case f.Operator == "is":
			value = "null"
		case f.Operator == "in":
			value = `{"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"}`
		case strings.HasSuffix(f.Operator, "like") && strings.HasSuffix(value, `\`):
			continue
		}
		p, err := newPredicate(tab, project.Filter{Column: "v", Op: f.Operator, Value: value}, func(int) bool { return true })
		if err != nil {
			continue
		}
		if verdict == garblings.Refused {
			verdict = garblings.Works
		}
		for _, wire := range wires {
			if _, err := p.matches([]byte(wire)); err != nil {
				return garblings.Poisons
			}
		}
	}
	return verdict
}

// The server takes a LIKE pattern that ends with a lone backslash. The poll fails
// of a text of which something is left when the backslash is reached.
func TestFilter_DanglingEscape(t *testing.T) {
	tab, err := newTable(Table{Name: "t", Columns: []pgtype.Column{{Name: "v", Type: "text"}}})
	require.NoError(t, err)
	for _, c := range []struct {
		pattern, text string
		fails         bool
	}{
		{`ab\`, "abc", true}, {`ab\`, "ab", false}, {`ab\`, "b", false}, {`%\`, "x", true}, {`%\`, "", false}, {`ab\\`, `ab\`, false}, {`a_\`, "ab\\", true},
	} {
		for _, op := range []string{"like", "ilike"} {
			p, err := newPredicate(tab, project.Filter{Column: "v", Op: op, Value: c.pattern}, func(int) bool { return true })
			require.NoError(t, err)
			_, err = p.matches(pgtype.AppendString(nil, c.text))
			require.Equal(t, c.fails, err != nil, "%q %s %q", c.text, op, c.pattern)
		}
	}
}

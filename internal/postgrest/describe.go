package postgrest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Description is what the API's description says of a table.
type Description struct {
	// Key is the columns of the primary key in the order of the table's columns,
	// which may not be that of the index. Nil: it has none, as a view.
	Key []string
	// Columns are the columns that the role may see.
	Columns []Column
}

// Column is a column and its type as SQL has it, such as "bigint",
// "character varying", "text[]" or "public.mood", with the labels of an enum.
type Column struct {
	Name, Type string
	Labels     []string
}

// Describe reads the table's key and columns from the description of the API.
// The error is ErrNotDescribed, and the server's *Error with it, where the
// project does not show it to this role, or it lacks the table.
func (t *Table) Describe(ctx context.Context) (Description, error) {
	answer, err := t.send(ctx, request{method: http.MethodGet, path: "/rest/v1/", accept: "application/openapi+json"})
	if err != nil {
		return Description{}, t.notDescribed(err)
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(t.bounded(answer))
	d, found, err := findDefinition(decoder, t.Name)
	switch {
	case err != nil:
		return Description{}, t.unreadable(answer, err)
	case !found:
		return Description{}, t.mistake("%w", ErrNotDescribed)
	}
	return d, nil
}

// notDescribed tells a description that is kept back from other failures.
func (t *Table) notDescribed(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Temporary() {
		return err
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusNotAcceptable:
		return fmt.Errorf("%w: %w", err, ErrNotDescribed)
	}
	return err
}

// findDefinition reads an OpenAPI document up to the definition of the table.
// The document may have megabytes; nothing of it but that is kept.
func findDefinition(decoder *json.Decoder, table string) (d Description, found bool, err error) {
	err = eachMember(decoder, func(name string) error {
		if name != "definitions" {
			return skip(decoder)
		}
		return eachMember(decoder, func(name string) error {
			if name != table {
				return skip(decoder)
			}
			found = true
			return eachMember(decoder, func(name string) error {
				if name != "properties" {
					return skip(decoder)
				}
				return readColumns(decoder, &d)
			})
		})
	})
	return d, found, err
}

// readColumns reads the properties of a definition.
func readColumns(decoder *json.Decoder, d *Description) error {
	return eachMember(decoder, func(name string) error {
		var property struct {
			Format, Description string
			Enum                json.RawMessage
		}
		if err := decoder.Decode(&property); err != nil {
			return err
		}
		c := Column{Name: name, Type: property.Format}
		_ = json.Unmarshal(property.Enum, &c.Labels) // which an enum of anything but text does not have
		d.Columns = append(d.Columns, c)
		if strings.Contains(property.Description, "<pk/>") {
			d.Key = append(d.Key, name)
		}
		return nil
	})
}

// eachMember reads an object, of each member of which value reads the value.
func eachMember(decoder *json.Decoder, value func(name string) error) error {
	if err := expect(decoder, '{'); err != nil {
		return err
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if err := value(name); err != nil {
			return err
		}
	}
	return expect(decoder, '}')
}

// skip reads a value and keeps nothing of it.
func skip(decoder *json.Decoder) error {
	for depth := 0; ; {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

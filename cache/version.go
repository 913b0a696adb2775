package cache

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/rowjson"
)

// versions reads the columns of WithVersion from a row.
type versions[T any] struct {
	columns []string
	fields  [][]int // of T, for each column
}

// newVersions finds the fields of T that the columns go into.
func newVersions[T any](columns []string) (versions[T], error) {
	v := versions[T]{columns: columns}
	t := reflect.TypeFor[T]()
	for _, column := range columns {
		if t.Kind() != reflect.Struct {
			return v, &cdc.TypeError{GoType: t.String(), Reason: "WithVersion needs a struct"}
		}
		index := fieldFor(t, column)
		if index == nil {
			return v, &cdc.TypeError{GoType: t.String(), Reason: fmt.Sprintf("no field for the column %q of WithVersion", column)}
		}
		v.fields = append(v.fields, index)
	}
	return v, nil
}

// fieldFor returns the index of the field that a column goes into, by the rules
// of cdc.As; nil if there is none.
func fieldFor(t reflect.Type, column string) []int {
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && !f.Anonymous && isFor(f, column) && !throughPointer(t, f.Index) {
			return f.Index
		}
	}
	return nil
}

func isFor(f reflect.StructField, column string) bool {
	tag, _, skip := rowjson.ColumnTag(f.Tag)
	return !skip && (tag == column || tag == "" && rowjson.Fold(f.Name) == rowjson.Fold(column))
}

// throughPointer reports whether a field is in a struct that is embedded by
// pointer, which may be nil.
func throughPointer(t reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		if t = t.Field(i).Type; t.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}

// same reports whether two rows have the same version.
func (v *versions[T]) same(a, b T) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for _, index := range v.fields {
		if !reflect.DeepEqual(x.FieldByIndex(index).Interface(), y.FieldByIndex(index).Interface()) {
			return false
		}
	}
	return true
}

// texts returns the version as the database has it: to_jsonb(column) #>> '{}'.
// nil is a null.
func (v *versions[T]) texts(row T) []*string {
	x := reflect.ValueOf(&row).Elem()
	texts := make([]*string, len(v.fields))
	for i, index := range v.fields {
		texts[i] = textOf(x.FieldByIndex(index))
	}
	return texts
}

// textOf writes a value. Where it is not as the database writes it, such as a
// time in a database whose zone is not UTC, its digest never agrees, which
// costs the reading of the rows and nothing else.
func textOf(v reflect.Value) *string {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	var text string
	switch x := v.Interface().(type) {
	case time.Time:
		text = x.UTC().Format("2006-01-02T15:04:05.999999-07:00")
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			return nil
		}
		text = string(b)
	default:
		text = plainText(v)
	}
	return &text
}

func plainText(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	}
	return fmt.Sprint(v.Interface())
}

// maxRemoved is how many removed rows are remembered for their versions.
const maxRemoved = 4096

func (c *core[K, T]) noteRemoved(k K, row T) {
	if len(c.removed) >= maxRemoved {
		clear(c.removed)
	}
	c.removed[k] = row
}

// reused reports whether a new row has a version that is not above that of a row of
// its key that was removed before: then the versions of two rows may be the same.
func (c *core[K, T]) reused(k K, row T) bool {
	before, there := c.removed[k]
	delete(c.removed, k)
	return there && c.version.notAbove(row, before)
}

// notAbove reports whether the version of a row is known not to be above that of
// another.
func (v *versions[T]) notAbove(a, b T) bool {
	x, y := reflect.ValueOf(a).FieldByIndex(v.fields[0]), reflect.ValueOf(b).FieldByIndex(v.fields[0])
	for x.Kind() == reflect.Pointer {
		if x.IsNil() || y.IsNil() {
			return false
		}
		x, y = x.Elem(), y.Elem()
	}
	switch {
	case x.CanInt():
		return x.Int() <= y.Int()
	case x.CanUint():
		return x.Uint() <= y.Uint()
	case x.Type() == timeType:
		return !x.Interface().(time.Time).After(y.Interface().(time.Time))
	}
	return false
}

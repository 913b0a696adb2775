// Package secret keeps keys, tokens and passwords out of everything that is
// printed: formatted values, errors, logs. It also refuses those that no
// request could carry.
package secret

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/gapless-go/gapless/internal/redact"
)

// Mark stands where a secret was.
const Mark = redact.Mark

// Named reports whether a field of this name holds what must not be printed.
func Named(field string) bool {
	name := strings.ToLower(field)
	if strings.HasPrefix(name, "public") || strings.HasPrefix(name, "primary") {
		return false
	}
	return strings.HasSuffix(name, "key") || slices.ContainsFunc(words, func(w string) bool { return strings.Contains(name, w) })
}

var words = []string{"token", "password", "passphrase", "secret", "dsn", "databaseurl", "credential", "header", "cookie", "authorization"}

// Format is the method Format of a struct that holds secrets: it writes the
// same for every verb. See Text.
func Format(to fmt.State, v any, hidden ...string) {
	_, _ = io.WriteString(to, Text(v, hidden...))
}

// Text returns the type of a struct and those of its exported fields that are
// set. Fields that are Named, and the hidden ones, have Mark for a value; a key
// or token that stands in another text is replaced by Mark.
func Text(v any, hidden ...string) string {
	value := reflect.ValueOf(v)
	if value.Kind() == reflect.Pointer {
		if value.IsNil() {
			return "<nil>"
		}
		value = value.Elem()
	}
	var fields []string
	for i := range value.NumField() {
		field := value.Type().Field(i)
		f := value.Field(i)
		if !field.IsExported() || f.IsZero() {
			continue
		}
		fields = append(fields, field.Name+":"+shown(field.Name, f, hidden))
	}
	return value.Type().String() + "{" + strings.Join(fields, " ") + "}"
}

func shown(name string, v reflect.Value, hidden []string) string {
	if Named(name) || slices.Contains(hidden, name) {
		return Mark
	}
	switch v.Kind() {
	case reflect.Func, reflect.Chan, reflect.Pointer, reflect.Interface, reflect.UnsafePointer:
		return "(set)"
	}
	return Plain(fmt.Sprintf("%+v", v.Interface()))
}

// user is the user and password of a URL.
var user = regexp.MustCompile(`://[^/@\s]+@`)

// Plain returns a text with Mark for the keys and tokens in it that are known
// by their form, and for the user of a URL.
func Plain(s string) string {
	if strings.Contains(s, "@") {
		s = user.ReplaceAllLiteralString(s, "://"+Mark+"@")
	}
	return redact.String(s)
}

package realtime

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// termSize returns how many bytes Erlang's external term format takes for a
// JSON value, which is how the server measures payloads. What is no JSON is
// measured as the bytes that it is.
func termSize(raw []byte) int {
	v, err := pgtype.ParseJSON(string(raw))
	if err != nil {
		return len(raw)
	}
	return 1 + termBody(v) // behind the format's version
}

// termHeader is the tag and the length of a binary, a list or a map.
const termHeader = 5

func termBody(v any) int {
	switch v := v.(type) {
	case nil:
		return 5 // the atom nil
	case bool:
		return 2 + len(strconv.FormatBool(v))
	case string:
		return termHeader + len(v)
	case pgtype.Decimal:
		return termNumber(v.String())
	case []any:
		size := 1 // the empty list at the end
		if len(v) > 0 {
			size += termHeader
		}
		for _, item := range v {
			size += termBody(item)
		}
		return size
	case pgtype.Object:
		size := termHeader
		for _, m := range v {
			size += termHeader + len(m.Key) + termBody(m.Value)
		}
		return size
	}
	return 0
}

// termNumber measures a byte, an integer of 32 bits, a larger one, or a float.
func termNumber(s string) int {
	if strings.ContainsAny(s, ".eE") {
		return 9
	}
	n, err := json.Number(s).Int64()
	switch {
	case err != nil:
		return 3 + len(s)*5/12 // bytes of a number of so many digits
	case n >= 0 && n <= 255:
		return 2
	case n >= -1<<31 && n < 1<<31:
		return 5
	}
	return 3 + 8
}

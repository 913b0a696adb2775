package cdc

import "github.com/gapless-go/gapless/internal/rowjson"

// Infinity and NegInfinity stand in a time.Time for PostgreSQL's infinity and
// -infinity. They are later and earlier than every date and timestamp that
// PostgreSQL can store, so Before and After say what is true. Recognize them
// by Equal. Like other times outside of the years 0 to 9999 they cannot be
// marshaled to JSON. Types that know infinity themselves and are an
// sql.Scanner, such as pgtype.Timestamptz, are given the word instead.
var (
	Infinity    = rowjson.Infinity
	NegInfinity = rowjson.NegInfinity
)

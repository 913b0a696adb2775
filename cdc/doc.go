// Package cdc is what Supabase Realtime says of row changes, decoded: bytes in,
// values out. It knows no transport and starts no goroutine.
//
// A [Change] is one row change as the server said it: the operation, the table,
// and the rows as JSON. [Decode] makes it from the payload of a
// postgres_changes message, [DecodeBroadcast] from what a trigger sends with
// realtime.broadcast_changes. [As] decodes its rows into a Go type, which gives
// an [Event]. A [Filter] says which changes a subscription is for.
//
// # Order
//
// Changes come in the order of commits, those of a transaction together and in
// the order of its statements, all with one commit time. Nothing marks the end
// of a transaction, and nothing numbers the changes: two equal changes may be
// two updates, and a change that was lost leaves no trace in the next. A
// [Gap] in the stream says where that may be. TRUNCATE, a row that leaves a
// filter, and a row that becomes invisible to the subscriber make no change.
//
// A change of a primary key is one Update, whose OldRecord has the old key and
// whose Record has the new one.
//
// # Null and absent
//
// In Record and OldRecord a column may be null, or not be there. Absent from
// Record of an Update without Errors are the values that are stored out of line
// (TOAST) and that the Update left alone: they are what they were, and
// Change.Missing names them. In the struct of an Event both are the zero value
// unless the field can tell null: a pointer, a [database/sql.Null], another
// Scanner, or an [encoding/json.RawMessage], which is null, or empty if absent.
//
// # Fields without a column
//
// A field whose db or json tag names a column that neither Change.Columns nor
// the row has is an error of As for an Insert or an Update, and no zero value:
// the tag has a typo, the column was dropped or renamed, the role may not read
// it, or the binding selects other columns. CheckType cannot know of it, since
// it has no columns. It is no error
//
//   - if the tag says that the column is optional: `db:"note,optional"`;
//   - if As is told AnyColumns, for a type that is wider than the columns that
//     a binding selects;
//   - for a field without a tag, which need not be for a column;
//   - in the old row, which has what the replica identity has;
//   - if Change.Columns is empty, as in a change that came by Broadcast.
//
// # Replica identity
//
// What OldRecord has depends on the table's replica identity. By default it is
// the primary key; after ALTER TABLE … REPLICA IDENTITY FULL, the whole row, and
// unchanged values are then in Record, too; USING INDEX, the columns of the
// index. Under row level security an OldRecord of a Delete is the key even so,
// and every subscriber gets it. Change.OldMissing names what is not there.
//
// # Changes without their row
//
// Of a table without a primary key, of one whose key the role may not read, and
// of a change of more than a mebibyte, the server sends little or nothing.
// Change.Incomplete tells, and As returns an *[IncompleteError] beside what
// there is.
//
// # Types
//
// A value is decoded by the PostgreSQL type of its column and the Go type of
// its field:
//
//	PostgreSQL                      Go
//	int2, int4, int8                integers; *big.Int, json.Number, string; floats, rounded
//	numeric                         json.Number, string, *big.Rat, decimal types that
//	                                are a Scanner or TextUnmarshaler; *big.Int and
//	                                integers if it is one; floats, rounded
//	float4, float8                  floats; json.Number, string
//	bool                            bool, string
//	text, varchar, char, xml        string, []byte, types with UnmarshalText or Scan
//	uuid                            the same, such as uuid.UUID
//	enums                           string, types with UnmarshalText or Scan
//	oid, regclass and the like      integers (oid), string
//	bytea                           []byte, a Go array of that length; string as \x…,
//	                                and so types with UnmarshalJSON
//	timestamptz, timestamp, date    time.Time in UTC; string as the server wrote it
//	time, timetz, interval          string, types with UnmarshalText or Scan
//	json, jsonb                     json.RawMessage, []byte as text, or whatever
//	                                encoding/json decodes it into
//	arrays                          slices; Go arrays of that length
//	composites, hstore              as json; a bytea in one stays text
//	domains                         as the type they stand for, except bytea
//	ranges and all others           string, types with UnmarshalText or Scan
//	any                             any, with the values of Change.Value
//
// An integer must fit, and 5.00 is one. A pointer or [database/sql.Null] of
// each of these is nil or not valid for null; a Scanner gets nil; other types
// are zero. json.RawMessage takes the JSON of any column. A [database/sql.Scanner]
// is given what a database driver gives: int64, float64, bool, []byte for a
// bytea, time.Time, or a string; the JSON as []byte for json and arrays. In
// objects of json columns, numbers that go into an any become json.Number.
//
// A date or timestamp that is infinite becomes [Infinity] or [NegInfinity].
// Years before 1 and after 9999 are kept.
//
// # Cost
//
// Decode and As take time linear in the length of the row, and memory as
// documented at Decode. Numbers of more than 150,000 characters, or with an
// exponent, go into floats, strings and json.Number alone, since a type such as
// big.Rat takes time or memory without bound for them; floats of more than
// 150,000 characters are an error. The short texts of a row, of at most 256
// bytes each, share one allocation.
//
// # What Realtime garbles
//
// Of char(n) and bit(n), and of each element of arrays of them, it sends the
// first character or bit. Of NaN and the infinities in float and numeric columns,
// and of the JSON value null, it sends null. [Column.Caveat] says so by column.
// Array bounds are lost, and the sign of a zero. A json comes as jsonb has it,
// without the first of equal keys. A json that jsonb cannot hold, such as one with
// \u0000, and a regproc or regoper whose name is overloaded, end the server's
// poll: this and other changes are lost for every subscriber, without a word. None
// of this happens to changes that come by Broadcast.
//
// The whole list, by type, is in docs/garbling.md. It is made by a test from every
// type of PostgreSQL.
package cdc

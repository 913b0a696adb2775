// Package sql is what a table cache asks of a project's database to be exact:
// the table rt_mark and the functions rt_describe, rt_chunk, rt_digest and
// rt_keys. A cache does without, and then promises less.
//
// [Files] has install.sql, uninstall.sql and anon.sql. Apply install.sql as the
// role postgres, for instance as a migration of the Supabase CLI. It may be
// applied again, and over an earlier version; it refuses to go back to one.
//
//	psql -1 -v ON_ERROR_STOP=1 -f install.sql "$DATABASE_URL"
//
// It needs PostgreSQL 14 or later and no superuser.
//
// The functions are for the roles authenticated and service_role, run with
// their caller's rights (security invoker) and under row level security, and
// answer for tables of which the caller may read some column, in the schema
// public or in the publication supabase_realtime. anon.sql gives them to the
// role anon, without marks.
//
// # Marks
//
// A client inserts one row into rt_mark, with an id of its own, and subscribes
// to its updates by the filter id=eq.ID, in the channel of its tables:
//
//	id    uuid         the client's choice
//	owner text         the subject of the token that inserted it
//	seq   bigint       counts the updates, in the order of their commits
//	at    timestamptz  of the last update
//
// Every update counts one on, whatever it sets. Since a function updates the
// mark that it is given after all that it reads, and the stream brings changes
// in the order of their commits, all that was read had happened when that seq
// comes out of the stream. A mark that the caller does not own, or that is gone,
// is not an error: seq is null. A mark that was not used for a day is removed
// when its owner inserts another one.
//
// # Functions
//
// Arguments go by name, as POST /rest/v1/rpc/NAME takes them; all but rel and
// key may be left out, which is the same as null. Names of columns are as they
// are, without quotes. What several have in common:
//
//	rel     text    the table, as in SQL: orders, shop.orders, "Order Lines"
//	key     text[]  columns of the primary key or of a unique index, none of them
//	                null, an array or composite; in the order of the index, which
//	                rt_describe tells, the table is read by it
//	version text[]  columns that change whenever the row does, or all of interest
//	filter  json    [{"column": "a", "op": "eq", "values": ["1"], "not": false}, …],
//	                all of which the rows meet; op is one of eq neq lt lte gt gte
//	                like ilike match imatch isdistinct, in (any number of values),
//	                is (null, true, false or unknown)
//	after   text[]  only rows behind this key, which need not be there
//	upto    text[]  only rows up to this key, itself included
//	seed    int8    of the hashes, 0 where it is null; rows that are hashed alike
//	                by one are not by another, so take a new one for each time
//	lim     int     at most this many rows, the first in the order of the key
//	mark    uuid    the id of the mark to count on
//
// and in the results:
//
//	last    the key that the call came to because of lim, as an array of texts;
//	        the next call takes it for after. Null: it came to the end, or to upto
//	seq     the number of the mark now; null where there is none
//
// lim bounds the work of a call, which a statement timeout makes necessary for
// large tables. With a filter that few rows meet, an index on its columns does.
// A call finds its place by the index of the key; but under row level security
// PostgreSQL does not let it for a key that begins with a numeric, an enum or a
// type of an extension, and each page then costs as much as all before it.
//
// rt_describe(rel) returns
//
//	{"columns": [{"name": "id", "type": "int8"}, …], "identity": "d", "key": ["id"],
//	 "published": true, "rls": true, "schema": "public", "table": "orders", "version": 1}
//
// type is pg_type.typname; identity is pg_class.relreplident: d the primary key,
// f the whole row, i an index, n nothing; key is the primary key in the order of
// its index, empty if there is none; published is whether INSERT, UPDATE and
// DELETE go to the publication supabase_realtime; version is [Version].
//
// rt_chunk(rel, key, cols, filter, after, upto, lim, mark) reads rows in the
// order of the key: all columns, or those of the key and of cols. It returns
//
//	{"last": ["17"], "rows": [{"id": 17, "name": "…"}, …], "seq": 5}
//
// A row is what PostgREST sends of it, with its columns in the order of the
// table.
//
// rt_digest(rel, key, version, filter, after, upto, lim, seed, bits,
// within_bits, within, mark) counts and sums rows by bucket. The bucket of a row is the first
// bits of its [Slot], which follows from its key and the seed; 0 to 31, and
// without them 0, so that all rows are in bucket 0. It returns
//
//	{"buckets": [[3, 251, "1a962604d02f2268"], …], "last": null, "seq": 5}
//
// the bucket, how many rows it has, and their [Sum]s by exclusive or, in
// hexadecimal; by bucket, without those that have no row. What calls for
// adjoining ranges return adds up: counts by addition, sums by exclusive or.
//
// within is a list of buckets of within_bits bits, and only their rows count:
// each bucket of b bits is two of b+1, four of b+2 and so on, of consecutive
// numbers. So those that differ from one's own rows are split until few rows are
// left, and k rows of n are found by about k·log n numbers.
//
// rt_keys(rel, key, version, filter, after, upto, lim, seed, within_bits,
// within, mark) tells the rows of some buckets one by one, or all where within
// is null:
//
//	{"keys": [[["17"], "1a962604d02f2268"], …], "last": null, "seq": 5}
//
// the key, and the Sum of the row; in the order of the first 32 bits of their
// slots.
//
// # Texts
//
// A value as text is to_jsonb(value) #>> '{}' in SQL: numbers without an
// exponent, true and false, times in ISO 8601 with a T and the zone of the
// session. For all types that make good keys and versions it is what PostgREST
// and Realtime send, without the quotes.
//
// # Errors
//
// They come as PostgREST's with PostgreSQL's codes: 42P01 no such table, 42501
// no right to read it, or not within reach, 42703 no such column, 22023 an argument that makes no
// sense, 22P02 and the like a value that the type does not have, 57014 the
// statement timeout: ask for fewer rows. PGRST202 means that nothing is
// installed, or a version before the one that has these arguments.
package sql

package cdc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/internal/transcript"
)

// update is a payload with everything in it.
const update = `{"ids":[106243155,7],"data":{"schema":"public","table":"orders","type":"UPDATE",` +
	`"commit_timestamp":"2025-11-19T00:22:40.877Z",` +
	`"columns":[{"name":"id","type":"int8"},{"name":"status","type":"text"},{"name":"note","type":"text"}],` +
	`"record":{"id": 46, "status": null},"old_record":{"id": 46},"errors":null}}`

// with returns update with pairs of texts replaced.
func with(t testing.TB, oldnew ...string) []byte {
	t.Helper()
	s := update
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(t, s, oldnew[i])
		s = strings.Replace(s, oldnew[i], oldnew[i+1], 1)
	}
	return []byte(s)
}

func decode(t testing.TB, payload []byte) cdc.Change {
	t.Helper()
	c, _, err := cdc.Decode(payload)
	require.NoError(t, err)
	return c
}

// said is a change with what the server said alone, and not what Decode keeps for
// As beside it.
func said(c cdc.Change) cdc.Change {
	return cdc.Change{Op: c.Op, Schema: c.Schema, Table: c.Table, Committed: c.Committed, Columns: c.Columns,
		Record: c.Record, OldRecord: c.OldRecord, Missing: c.Missing, Errors: c.Errors}
}

func TestDecode(t *testing.T) {
	c, ids, err := cdc.Decode([]byte(update))
	require.NoError(t, err)
	require.Equal(t, []int64{106243155, 7}, ids)
	require.Equal(t, cdc.Change{
		Op:        cdc.Update,
		Schema:    "public",
		Table:     "orders",
		Committed: utc(2025, 11, 19, 0, 22, 40, 877e6),
		Columns:   []cdc.Column{{"id", "int8"}, {"status", "text"}, {"note", "text"}},
		Record:    json.RawMessage(`{"id": 46, "status": null}`),
		OldRecord: json.RawMessage(`{"id": 46}`),
		Missing:   []string{"note"},
	}, said(c))
	require.Equal(t, []string{"status", "note"}, c.OldMissing())
	require.Equal(t, cdc.Complete, c.Incomplete())
}

func TestDecodeKeepsNothingOfTheBuffer(t *testing.T) {
	buf := []byte(update)
	c, ids, err := cdc.Decode(buf)
	require.NoError(t, err)
	want, wantIDs, err := cdc.Decode(bytes.Clone(buf))
	require.NoError(t, err)
	for i := range buf {
		buf[i] = '#'
	}
	require.Equal(t, want, c)
	require.Equal(t, wantIDs, ids)

	// Appending to one row must not reach into the other.
	_ = append(c.Record, '#')
	require.Equal(t, want.OldRecord, c.OldRecord)

	buf = []byte(`{"schema":"public","table":"t","operation":"DELETE","record":null,"old_record":{"id":1}}`)
	c, err = cdc.DecodeBroadcast(buf)
	require.NoError(t, err)
	for i := range buf {
		buf[i] = '#'
	}
	require.Equal(t, cdc.Change{Op: cdc.Delete, Schema: "public", Table: "t", OldRecord: json.RawMessage(`{"id":1}`)}, c)
}

// TestDecodeKeepsNothingOfTheColumns: column lists are remembered from change
// to change, and must not be remembered as a piece of a buffer.
func TestDecodeKeepsNothingOfTheColumns(t *testing.T) {
	buf := make([]byte, 0, 1000)
	for i := range 3000 {
		name := fmt.Sprintf("c%06d", i)
		buf = append(buf[:0], with(t, `"name":"status"`, `"name":"`+name+`"`)...)
		require.Equal(t, name, decode(t, buf).Columns[1].Name)
	}
}

func TestDecodeTolerates(t *testing.T) {
	for name, c := range map[string]struct {
		payload []byte
		check   func(t *testing.T, c cdc.Change)
	}{
		"keys it does not know": {with(t, `"schema"`, `"lsn":{"a":[1]},"Schema":5,"schema"`, `"type":"int8"`, `"type":"int8","typmod":-1`, `"ids"`, `"meta":[],"ids"`),
			func(t *testing.T, c cdc.Change) { require.Equal(t, "public", c.Schema) }},
		"blanks": {[]byte(strings.NewReplacer(`,"`, " ,\n\"", `":`, "\"\t: ", `{`, "{ ", `]`, "\r]").Replace(update)),
			func(t *testing.T, c cdc.Change) { require.Equal(t, []string{"note"}, c.Missing) }},
		"keys that are escaped": {with(t, `"schema"`, `"sch\u0065ma"`, `"status": null`, `"st\u0061tus": null`),
			func(t *testing.T, c cdc.Change) { require.Equal(t, []string{"note"}, c.Missing) }},
		"the last of two keys counts": {with(t, `"schema"`, `"schema":"x","schema"`, `"id": 46, "status": null`, `"id": 1, "id": 46, "note": 2, "note": 3`),
			func(t *testing.T, c cdc.Change) {
				v, err := c.Value("id")
				require.NoError(t, err)
				require.Equal(t, int64(46), v)
				require.Equal(t, "public", c.Schema)
				require.Equal(t, []string{"status"}, c.Missing)
			}},
		"microseconds": {with(t, `40.877Z`, `40.877123Z`),
			func(t *testing.T, c cdc.Change) {
				require.Equal(t, utc(2025, 11, 19, 0, 22, 40, 877123e3), c.Committed)
			}},
		"an offset": {with(t, `40.877Z`, `40.877+02:00`),
			func(t *testing.T, c cdc.Change) { require.Equal(t, utc(2025, 11, 18, 22, 22, 40, 877e6), c.Committed) }},
		"no commit time": {with(t, `"2025-11-19T00:22:40.877Z"`, `null`),
			func(t *testing.T, c cdc.Change) { require.True(t, c.Committed.IsZero()) }},
		"no ids": {with(t, `[106243155,7]`, `[]`), nil},
		"errors that are one string": {with(t, `"errors":null`, `"errors":"Error 413: Payload Too Large"`),
			func(t *testing.T, c cdc.Change) { require.Equal(t, []string{"Error 413: Payload Too Large"}, c.Errors) }},
		"errors that are something else": {with(t, `"errors":null`, `"errors":["a",{"code":5},6]`),
			func(t *testing.T, c cdc.Change) { require.Equal(t, []string{"a", `{"code":5}`, "6"}, c.Errors) }},
		"errors that are an object": {with(t, `"errors":null`, `"errors":{"code":5}`),
			func(t *testing.T, c cdc.Change) {
				require.Equal(t, []string{`{"code":5}`}, c.Errors)
				require.Equal(t, cdc.OtherError, c.Incomplete())
			}},
		"no errors": {with(t, `,"errors":null`, ``),
			func(t *testing.T, c cdc.Change) { require.Nil(t, c.Errors) }},
		"no old row of an update": {with(t, `,"old_record":{"id": 46}`, ``),
			func(t *testing.T, c cdc.Change) { require.Nil(t, c.OldRecord); require.Nil(t, c.OldMissing()) }},
		"a record of a delete": {with(t, `UPDATE`, `DELETE`, `"record":{"id": 46, "status": null}`, `"record":{}`),
			func(t *testing.T, c cdc.Change) { require.Nil(t, c.Record); require.Nil(t, c.Missing) }},
		"an old record of an insert": {with(t, `UPDATE`, `INSERT`, `"old_record":{"id": 46}`, `"old_record":{}`),
			func(t *testing.T, c cdc.Change) { require.Nil(t, c.OldRecord) }},
		"no columns": {with(t, `[{"name":"id","type":"int8"},{"name":"status","type":"text"},{"name":"note","type":"text"}]`, `[]`),
			func(t *testing.T, c cdc.Change) { require.Empty(t, c.Columns); require.Nil(t, c.Missing) }},
		"columns that are not in the table any more": {with(t, `"status": null`, `"dropped": 1`),
			func(t *testing.T, c cdc.Change) { require.Equal(t, []string{"status", "note"}, c.Missing) }},
	} {
		t.Run(name, func(t *testing.T) {
			got := decode(t, c.payload)
			if c.check != nil {
				c.check(t, got)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	const where = "cdc: payload of public.orders: "
	const columns = `[{"name":"id","type":"int8"},{"name":"status","type":"text"},{"name":"note","type":"text"}]`
	for want, payload := range map[string][]byte{
		"cdc: payload: unexpected end of JSON input":                                                    with(t, `}}`, `}`),
		"cdc: payload: invalid character '}' looking for beginning of object key string":                with(t, `null}}`, `null,}}`),
		"cdc: payload: data: not an object":                                                             []byte(`{"ids":[1]}`),
		"cdc: payload: data: not an object (null)":                                                      []byte(`{"ids":[1],"data":null}`),
		"cdc: payload: data: not an object (list)":                                                      []byte(`[]`),
		"cdc: payload: data: not an object (string)":                                                    []byte(`"{"`),
		"cdc: payload of orders: schema is not a string":                                                with(t, `"public"`, `5`),
		"cdc: payload of orders: schema is not a string (absent)":                                       with(t, `"schema":"public",`, ``),
		"cdc: payload of orders: schema is empty":                                                       with(t, `"public"`, `""`),
		"cdc: payload of public.: table is not a string":                                                with(t, `"orders"`, `null`),
		where + `type of change "MERGE" is none of INSERT, UPDATE and DELETE`:                           with(t, `UPDATE`, `MERGE`),
		where + `type of change "update" is none of INSERT, UPDATE and DELETE`:                          with(t, `UPDATE`, `update`),
		where + `type of change 5 is none of INSERT, UPDATE and DELETE`:                                 with(t, `"UPDATE"`, `5`),
		where + `type of change "` + strings.Repeat("x", 63) + `… is none of INSERT, UPDATE and DELETE`: with(t, `UPDATE`, strings.Repeat("x", 5000)),
		where + `no type of change`:                                                                     with(t, `"type":"UPDATE",`, ``),
		where + `commit_timestamp "soon" is not a time`:                                                 with(t, `2025-11-19T00:22:40.877Z`, `soon`),
		where + `commit_timestamp "infinity" is not a time`:                                             with(t, `2025-11-19T00:22:40.877Z`, `infinity`),
		where + `commit_timestamp is not a string`:                                                      with(t, `"2025-11-19T00:22:40.877Z"`, `5`),
		where + `columns is not a list`:                                                                 with(t, columns, `{}`),
		where + `columns is not a list (null)`:                                                          with(t, columns, `null`),
		where + `columns is not a list (absent)`:                                                        with(t, `"columns":`+columns+`,`, ``),
		where + `column 1: not an object`:                                                               with(t, `{"name":"status","type":"text"}`, `"status"`),
		where + `column 0: no name or no type`:                                                          with(t, `{"name":"id","type":"int8"}`, `{"name":"id"}`),
		where + `column 0: no name or no type (neither)`:                                                with(t, `{"name":"id","type":"int8"}`, `{}`),
		where + `column 0: name is not a string`:                                                        with(t, `"name":"id"`, `"name":5`),
		where + `column 0: type is not a string`:                                                        with(t, `"type":"int8"`, `"type":null`),
		where + `column 0: name is empty`:                                                               with(t, `"name":"id"`, `"name":""`),
		where + `two columns of one name`:                                                               with(t, `"name":"note"`, `"name":"id"`),
		where + `record is not an object`:                                                               with(t, `{"id": 46, "status": null}`, `[46]`),
		where + `old_record is not an object`:                                                           with(t, `"old_record":{"id": 46}`, `"old_record":"{}"`),
		where + `UPDATE without a record`:                                                               with(t, `{"id": 46, "status": null}`, `null`),
		where + `INSERT without a record`:                                                               with(t, `UPDATE`, `INSERT`, `"record":{"id": 46, "status": null},`, ``),
		where + `DELETE without an old_record`:                                                          with(t, `UPDATE`, `DELETE`, `"old_record":{"id": 46}`, `"old_record":null`),
		where + `ids is not a list`:                                                                     with(t, `[106243155,7]`, `5`),
		where + `ids is not a list (absent)`:                                                            with(t, `"ids":[106243155,7],`, ``),
		where + `id 1.5 is not an integer`:                                                              with(t, `[106243155,7]`, `[1,1.5]`),
		where + `id null is not an integer`:                                                             with(t, `[106243155,7]`, `[null]`),
		where + `id "5" is not an integer`:                                                              with(t, `[106243155,7]`, `["5"]`),
		where + `id 9223372036854775808 is not an integer`:                                              with(t, `[106243155,7]`, `[9223372036854775808]`),
	} {
		c, ids, err := cdc.Decode(payload)
		var pe *cdc.PayloadError
		require.ErrorAs(t, err, &pe, want)
		want, _, _ = strings.Cut(want, " (")
		require.EqualError(t, err, want)
		require.Equal(t, cdc.Change{}, c)
		require.Nil(t, ids)
	}
}

func TestDecodeBroadcast(t *testing.T) {
	c, err := cdc.DecodeBroadcast([]byte(`{"id":"ca92","schema":"public","table":"orders","operation":"UPDATE",` +
		`"record":{"id":46,"code":"ab   ","raw":"\\xdead","f":"NaN"},"old_record":{"id":46,"code":"a    "}}`))
	require.NoError(t, err)
	e, err := cdc.As[struct {
		ID   int64
		Code string
		Raw  []byte
		F    json.Number
	}](c)
	require.NoError(t, err)
	require.Equal(t, "ab   ", e.New.Code)
	require.Equal(t, "a    ", e.Old.Code)
	require.Equal(t, []byte{0xde, 0xad}, e.New.Raw)
	require.Equal(t, json.Number("NaN"), e.New.F)
	require.Equal(t, int64(46), e.Old.ID)
	require.Nil(t, c.Columns)
	require.Nil(t, c.Missing)
	require.Nil(t, c.OldMissing())
	require.True(t, c.Committed.IsZero())

	for payload, want := range map[string]string{
		`{"n":1}`: "cdc: payload: schema is not a string",
		`[]`:      "cdc: payload: not an object",
		`{`:       "cdc: payload: unexpected end of JSON input",
		`{"schema":"s","table":"t","type":"INSERT","record":{}}`:      "cdc: payload of s.t: no type of change",
		`{"schema":"s","table":"t","operation":"INSERT"}`:             "cdc: payload of s.t: INSERT without a record",
		`{"schema":"s","table":"t","operation":"DELETE","record":{}}`: "cdc: payload of s.t: DELETE without an old_record",
	} {
		_, err := cdc.DecodeBroadcast([]byte(payload))
		require.EqualError(t, err, want)
	}
}

// TestC30Envelope: an Insert has no old row, a Delete no new one, whether the
// key is absent, as the server leaves it, or null.
func TestC30Envelope(t *testing.T) {
	n := tally{}
	eachChange(t, func(f frame, c cdc.Change, g logged) {
		n[c.Op.String()]++
		require.Equal(t, c.Op == cdc.Delete, c.Record == nil, f.name)
		require.Equal(t, c.Op == cdc.Insert, c.OldRecord == nil, f.name)
		require.Equal(t, bytes.Contains(f.payload, []byte(`"errors":null`)), c.Errors == nil, f.name)
	})
	require.Equal(t, tally{"INSERT": 1349, "UPDATE": 96, "DELETE": 89}, n)
}

// TestC32NullAndAbsent: a value that an Update left alone is not null.
func TestC32NullAndAbsent(t *testing.T) {
	c := decode(t, []byte(update)) // status is null, note is not there
	require.Equal(t, []string{"note"}, c.Missing)
	v, err := c.Value("status")
	require.NoError(t, err)
	require.Nil(t, v)
	_, err = c.Value("note")
	require.ErrorIs(t, err, cdc.ErrMissing)
	require.EqualError(t, err, `cdc: the row does not have the column: "note"`)

	e, err := cdc.As[struct{ Status, Note json.RawMessage }](c)
	require.NoError(t, err) // no error: the row is known from before
	require.Equal(t, "null", string(e.New.Status))
	require.Nil(t, e.New.Note)
	require.Equal(t, []string{"note"}, e.Missing)

	m, err := cdc.As[map[string]any](c)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"id": int64(46), "status": nil}, m.New)
	require.Equal(t, map[string]any{"id": int64(46)}, m.Old)
}

// TestC39RepeatedIDs: equal bindings put their id in twice; Decode hands out
// what came, and C40: bindings with different columns get messages of their own.
func TestC39RepeatedIDs(t *testing.T) {
	_, ids, err := cdc.Decode(with(t, `[106243155,7]`, `[7,5,7]`))
	require.NoError(t, err)
	require.Equal(t, []int64{7, 5, 7}, ids)
}

func TestC40OneChangeInTwoMessages(t *testing.T) {
	var columns []string
	eachFrame(t, "15-select.vsn2", phoenix.EventPostgresChanges, func(f frame, m phoenix.Message) {
		c := decode(t, m.Payload)
		if strings.HasSuffix(m.Topic, ":seltwo") && c.Op == cdc.Insert {
			names := ""
			for _, col := range c.Columns {
				names += col.Name + " "
			}
			columns = append(columns, names)
			require.Nil(t, c.Missing, "what was not selected is not missing")
		}
	})
	require.Len(t, columns, 3)
	require.Contains(t, columns, "id name ")
	require.Contains(t, columns, "id qty ")
}

// TestC46ErrorChanges: what the server sends in place of a row.
func TestC46ErrorChanges(t *testing.T) {
	for text, want := range map[string]cdc.Incomplete{
		"Error 400: Bad Request, no primary key": cdc.NoPrimaryKey,
		"Error 401: Unauthorized":                cdc.Unauthorized,
		"Error 413: Payload Too Large":           cdc.TooLarge,
		"Error 500: who knows":                   cdc.OtherError,
	} {
		c := decode(t, with(t, `"errors":null`, `"errors":["`+text+`"]`))
		require.Equal(t, want, c.Incomplete())
		require.Equal(t, []string{text}, c.Errors)
	}
}

// TestC47IncompleteIsNoRow: As never hands out half a row without saying so.
func TestC47IncompleteIsNoRow(t *testing.T) {
	type big struct {
		ID      int64
		Payload string
	}
	reasons := tally{}
	eachChange(t, func(f frame, c cdc.Change, g logged) {
		e, err := cdc.As[big](c)
		if c.Incomplete() == cdc.Complete {
			require.NoError(t, err)
			return
		}
		var ie *cdc.IncompleteError
		require.ErrorAs(t, err, &ie, f.name)
		require.Equal(t, c.Incomplete(), ie.Reason)
		require.Equal(t, c.Errors, ie.Errors)
		require.Equal(t, c.Table, ie.Table)
		reasons[err.Error()]++
		if ie.Reason == cdc.TooLarge {
			require.Equal(t, []string{"payload"}, ie.Missing)
			require.Equal(t, big{ID: 1}, e.New, f.name)
		}
	})
	require.Equal(t, tally{
		"cdc: public.t_big: incomplete change: payload too large (1 columns missing)": 8,
		"cdc: public.t_colpriv: incomplete change: nothing known of the deleted row":  2,
		"cdc: public.t_colpriv: incomplete change: unauthorized":                      4,
		"cdc: public.t_noperm: incomplete change: nothing known of the deleted row":   4,
		"cdc: public.t_noperm: incomplete change: unauthorized":                       8,
		"cdc: public.t_nopk: incomplete change: no primary key":                       4,
		"cdc: public.t_nopk_full: incomplete change: no primary key":                  8,
	}, reasons)
}

// TestC48MovedKey: a change of the primary key is one Update with both keys.
func TestC48MovedKey(t *testing.T) {
	type item struct{ ID int64 }
	moved := tally{}
	eachChange(t, func(f frame, c cdc.Change, g logged) {
		e, err := cdc.As[item](c)
		if err == nil && c.Op == cdc.Update && e.Old != e.New {
			moved[fmt.Sprintf("%s %d to %d", c.Table, e.Old.ID, e.New.ID)]++
		}
	})
	require.Equal(t, tally{
		"t_full 3 to 99":    2,
		"t_def 3 to 99":     2,
		"t_def 1 to 2":      1,
		"t_items 3 to 10":   11,
		"t_items 1 to 5001": 1,
		"t_items 2 to 5002": 1,
		"t_big 1 to 2":      4,
		"t_rls 4 to 5":      1,
	}, moved)
}

// TestC53EqualChangesAreTwo: nothing in a change tells it from another with
// the same content, so Decode must not be where they are told apart.
func TestC53EqualChangesAreTwo(t *testing.T) {
	require.Equal(t, decode(t, []byte(update)), decode(t, []byte(update)))
}

func TestDecodeByManyAtOnce(t *testing.T) {
	var payloads [][]byte
	for _, name := range transcript.Names() {
		eachFrame(t, name, phoenix.EventPostgresChanges, func(f frame, m phoenix.Message) {
			if len(payloads) < 300 {
				payloads = append(payloads, bytes.Clone(m.Payload))
			}
		})
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, p := range payloads {
				c, _, err := cdc.Decode(p)
				if err != nil {
					t.Error(err)
				}
				if _, err := cdc.As[full](c); err != nil && c.Table == "t_full" {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestDecodeSurvivesDamage cuts and changes recorded payloads. What json.Valid
// refuses must be refused, and nothing panics.
func TestDecodeSurvivesDamage(t *testing.T) {
	var payloads [][]byte
	for _, name := range []string{"02-private-postgres-changes-full.vsn2", "04-filters.vsn2", "07-multiple-bindings.vsn2"} {
		eachFrame(t, name, phoenix.EventPostgresChanges, func(f frame, m phoenix.Message) {
			payloads = append(payloads, bytes.Clone(m.Payload))
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	accepted, refused := 0, 0
	for i := range 12000 {
		p := damage(random, bytes.Clone(payloads[i%len(payloads)]))
		c, _, err := cdc.Decode(p)
		if !json.Valid(p) {
			require.Error(t, err, "%s", p)
		}
		if err != nil {
			refused++
			continue
		}
		accepted++
		require.True(t, json.Valid(c.Record) || c.Record == nil)
		require.True(t, json.Valid(c.OldRecord) || c.OldRecord == nil)
		_, _ = cdc.As[map[string]any](c)
		_, _ = cdc.As[full](c)
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
	require.Greater(t, accepted, 1000)
	require.Greater(t, refused, 3000)
}

func damage(random *rand.Rand, p []byte) []byte {
	i := random.IntN(len(p))
	switch random.IntN(4) {
	case 0:
		return p[:i]
	case 1:
		p[i] = byte(random.IntN(256))
		return p
	case 2:
		const json = `{}[]:,"\0-.e tfnu`
		p[i] = json[random.IntN(len(json))]
		return p
	default:
		return append(p[:i], p[i+1:]...)
	}
}

func TestDecodeSurvivesBrackets(t *testing.T) {
	const n = 5_000_000
	for _, open := range []string{"[", `{"a":`} {
		deep := strings.Repeat(open, n/len(open))
		for _, p := range []string{deep, `{"ids":` + deep, `{"ids":[1],"data":{"record":` + deep} {
			_, _, err := cdc.Decode([]byte(p))
			require.Error(t, err)
		}
		// A row that was not decoded but made by hand.
		c := cdc.Change{Op: cdc.Insert, Columns: []cdc.Column{{"v", "_int4"}}, Record: json.RawMessage(`{"v":` + deep)}
		_, err := cdc.As[map[string]any](c)
		require.Error(t, err)
	}
	c := cdc.Change{Op: cdc.Insert, Columns: []cdc.Column{{"v", "_int4"}}, Record: json.RawMessage(`{"v":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`)}
	_, err := cdc.As[map[string]any](c)
	require.ErrorContains(t, err, "an array of more than 6 dimensions")
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	c = decode(t, with(t, `"status": null`, `"status": `+deep))
	_, err = cdc.As[map[string]any](c)
	require.NoError(t, err)
}

// TestWideRows: the cost of a row grows with its width, not with its square.
func TestWideRows(t *testing.T) {
	var columns, record []string
	for i := range 40000 {
		n := strconv.Itoa(i)
		columns = append(columns, `{"name":"c`+n+`","type":"int4"}`)
		record = append(record, `"c`+n+`":`+n)
	}
	payload := with(t,
		`[{"name":"id","type":"int8"},{"name":"status","type":"text"},{"name":"note","type":"text"}]`, "["+strings.Join(columns, ",")+"]",
		`{"id": 46, "status": null}`, "{"+strings.Join(record, ",")+"}")
	began := time.Now()
	c := decode(t, payload)
	m, err := cdc.As[map[string]int](c)
	require.NoError(t, err)
	require.Equal(t, 39999, m.New["c39999"])
	_, err = cdc.As[struct{ C39999 int }](c)
	require.NoError(t, err)
	require.Len(t, c.OldMissing(), 40000)
	require.Less(t, time.Since(began), 10*time.Second)
}

// Of a key that comes twice the last counts, in the list of columns too.
func TestDecode_TheLastNameOfAColumnCounts(t *testing.T) {
	payload := func(column string) []byte {
		return []byte(`{"ids":[1],"data":{"schema":"public","table":"t","type":"INSERT","columns":[` + column + `],"record":{"a":1}}}`)
	}
	c, _, err := cdc.Decode(payload(`{"name":5,"type":"","name":"a","type":"int8"}`))
	require.NoError(t, err)
	require.Equal(t, []cdc.Column{{Name: "a", Type: "int8"}}, c.Columns)
	for _, column := range []string{`{"name":"a","type":"int8","name":5}`, `{"name":"a","type":"int8","type":""}`, `{"name":"a"}`} {
		_, _, err = cdc.Decode(payload(column))
		require.Error(t, err, column)
	}
}

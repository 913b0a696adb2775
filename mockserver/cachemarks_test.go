package mockserver_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver"
)

// A mark comes out of the stream behind all that was committed before the page
// that it was made with, with the number that the call returned, to its owner
// and to nobody else.
func TestMarksComeThroughTheStream(t *testing.T) {
	const mark = "00000000-0000-4000-8000-000000000001"
	const binding = `[{"event":"*","schema":"public","table":"lines"},{"event":"UPDATE","schema":"public","table":"rt_mark","filter":"id=eq.` + mark + `"}]`
	bubble(t, cacheConfig(), func(t *testing.T, s *mockserver.Server) {
		ann, ben := open(t, s, phoenix.V2), open(t, s, phoenix.V2)
		ann.subscribed(1, "realtime:a", binding, s.UserToken(annID, time.Hour))
		ben.subscribed(1, "realtime:b", binding, s.UserToken(benID, time.Hour))
		restCall{as: "ann", method: "POST", path: "rt_mark", body: `{"id":"` + mark + `"}`, status: 201}.check(t, s)
		write := func(no int) {
			t.Helper()
			require.NoError(t, s.Insert("lines", row{"tenant": annID, "no": no}))
		}
		write(1)
		call := restCall{as: "ann", method: "POST", path: "rpc/rt_digest", body: `{"rel":"lines","key":["tenant","no"],"filter":[{"column":"no","op":"lt","values":["-5"]}],"mark":"` + mark + `"}`}
		call.want = `{"buckets":[],"last":null,"seq":1}`
		call.check(t, s)
		write(2)
		call.want = `{"buckets":[],"last":null,"seq":2}`
		call.check(t, s)
		restCall{as: "ann", method: "PATCH", path: "rt_mark?id=eq." + mark, header: "Prefer: return=representation", body: `{"seq":77,"owner":"x"}`, want: "*"}.check(t, s)
		for _, want := range []string{`"no":1`, `"seq":1`, `"no":2`, `"seq":2`, `"seq":3`} {
			got, _ := ann.change()
			require.Contains(t, string(got.Data.Record), want, "a trigger counts, whatever is written")
		}
		for _, want := range []string{`"no":1`, `"no":2`} {
			got, _ := ben.change()
			require.Contains(t, string(got.Data.Record), want)
		}
		ben.silent(time.Second)
	})
}

// Whoever makes a mark removes those that it left behind a day ago.
func TestOldMarksAreRemoved(t *testing.T) {
	bubble(t, cacheConfig(), func(t *testing.T, s *mockserver.Server) {
		make := func(as string) {
			restCall{as: as, method: "POST", path: "rt_mark", body: `{}`, status: 201}.check(t, s)
		}
		marks := func() (owners []any) {
			rows, err := s.Rows("rt_mark")
			require.NoError(t, err)
			for _, r := range rows {
				owners = append(owners, r["owner"])
			}
			return owners
		}
		make("ann")
		make("ben")
		time.Sleep(23 * time.Hour)
		make("ann")
		require.ElementsMatch(t, []any{annID, benID, annID}, marks())
		time.Sleep(2 * time.Hour)
		make("ann")
		require.ElementsMatch(t, []any{benID, annID, annID}, marks(), "another's stay")
		restCall{as: "anon", method: "POST", path: "rt_mark", body: `{}`, status: 401, want: "*"}.check(t, s)
		restCall{as: "ann", method: "POST", path: "rt_mark", body: `{"owner":"` + benID + `"}`, status: 403, want: "*"}.check(t, s)
	})
}

package realtime

import (
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Nothing of a socket stays in the server when the socket has ended, and
// nothing of the poller when the server has.
func TestNothingIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := memdb.Table{Name: "t", Columns: []pgtype.Column{{Name: "p", Type: "point"}, {Name: "id", Type: "int8"}}, PrimaryKey: []string{"id"}}
		db, err := memdb.New(memdb.Settings{Tables: []memdb.Table{table}})
		require.NoError(t, err)
		rt := New(db, auth.NewVerifier(auth.Keys{Secret: auth.DefaultSecret}), Options{Log: slog.New(slog.DiscardHandler)})
		var server front.Front
		require.NoError(t, server.Listen(true, ""))
		require.NoError(t, rt.Begin(false))
		mux := http.NewServeMux()
		rt.Routes(mux)
		server.Serve(mux, rt.log)
		key := auth.Sign(auth.DefaultSecret, project.Claims{"role": "anon", "exp": auth.FarAway.Unix()})
		ws, _, err := websocket.Dial(t.Context(), server.WebsocketURL()+"?vsn=2.0.0&apikey="+key, &websocket.DialOptions{HTTPClient: server.Client})
		require.NoError(t, err)
		join := `["1","1","realtime:a","phx_join",{"config":{"postgres_changes":[{"schema":"public","table":"t","filter":"p=eq.(1,2)"}]}}]`
		require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte(join)))
		for range 2 {
			_, _, err := ws.Read(t.Context())
			require.NoError(t, err)
		}
		require.Len(t, rt.conns, 1)
		require.Len(t, rt.members, 1)
		require.Len(t, rt.subs, 1)
		require.NoError(t, db.Insert("t", memdb.Row{"id": 1, "p": "(1,2)"})) // the poll fails, and a slot with it
		time.Sleep(10 * time.Second)
		require.NoError(t, ws.CloseNow())
		synctest.Wait()
		require.Empty(t, rt.conns)
		require.Empty(t, rt.members)
		require.Empty(t, rt.subs)
		server.Close(rt.Close)
		slots, transactions := db.Retained()
		require.Zero(t, slots)
		require.Zero(t, transactions)
	})
}

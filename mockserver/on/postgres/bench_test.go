package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/mockserver/on/postgres"
)

const benchSchema = `
create table plain (id bigserial primary key, k int, payload text);
create table guarded (id bigserial primary key, k int, owner uuid, payload text);
alter table guarded enable row level security;
create policy own on guarded for select to authenticated using (owner = auth.uid());
alter publication supabase_realtime add table plain, guarded`

const benchUser = "11111111-1111-4111-8111-111111111111"

// BenchmarkChanges measures how many changes a second come out of the sockets,
// and frames: the rows are written first, and the poller begins to look when it
// is asked to.
func BenchmarkChanges(b *testing.B) {
	for _, table := range []string{"plain", "guarded"} {
		for _, subscribers := range []int{1, 100} {
			for _, rows := range []int{1, 1000} {
				b.Run(fmt.Sprintf("%s/subscribers=%d/rows=%d", table, subscribers, rows), func(b *testing.B) {
					benchChanges(b, table, subscribers, rows)
				})
			}
		}
	}
}

func benchChanges(b *testing.B, table string, subscribers, rows int) {
	timing := mockserver.Fast()
	timing.IdleTimeout = -1 // the clients send no heartbeats
	s := startProject(b, benchSchema, timing)
	listeners := make([]*listener, subscribers)
	for i := range listeners {
		listeners[i] = listen(b, s, table)
	}
	conn, err := pgx.Connect(b.Context(), s.DatabaseURL())
	require.NoError(b, err)
	defer conn.Close(context.Background())
	b.ResetTimer()
	for _, l := range listeners {
		go l.count(b.N)
	}
	// Written by the database itself, which takes less of the machine than
	// clients would.
	columns, values := "k, payload", "g, 'a payload of some length, as rows have it'"
	if table == "guarded" {
		columns, values = columns+", owner", values+", '"+benchUser+"'"
	}
	write := fmt.Sprintf("insert into %s (%s) select %s from generate_series(1, %%d) g", table, columns, values)
	if rows == 1 {
		_, err = conn.Exec(b.Context(), fmt.Sprintf(`do $$ begin for i in 1..%d loop %s; commit; end loop; end $$`, b.N, fmt.Sprintf(write, 1)))
		require.NoError(b, err)
	}
	for left := b.N; rows > 1 && left > 0; left -= rows {
		_, err = conn.Exec(b.Context(), fmt.Sprintf(write, min(rows, left)))
		require.NoError(b, err)
	}
	written := b.Elapsed()
	for _, l := range listeners {
		require.NoError(b, <-l.done)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	b.ReportMetric(float64(b.N*subscribers)/b.Elapsed().Seconds(), "frames/s")
	b.ReportMetric(float64(b.N)/written.Seconds(), "written/s")
}

// listener is a socket that counts the changes that come.
type listener struct {
	ws   *websocket.Conn
	done chan error
}

func listen(b *testing.B, s *postgres.Server, table string) *listener {
	c := dialRaw(b, s)
	token := s.UserToken(benchUser, time.Hour)
	join := fmt.Sprintf(`["1","1","realtime:bench","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":%q}]},"access_token":%q}]`, table, token)
	require.NoError(b, c.Write(b.Context(), websocket.MessageText, []byte(join)))
	for subscribed := false; !subscribed; {
		_, frame, err := c.Read(b.Context())
		require.NoError(b, err)
		subscribed = strings.Contains(string(frame), "Subscribed to PostgreSQL")
	}
	return &listener{ws: c, done: make(chan error, 1)}
}

func dialRaw(b *testing.B, s *postgres.Server) *websocket.Conn {
	ws, _, err := websocket.Dial(b.Context(), s.WebsocketURL()+"?vsn=2.0.0&apikey="+s.AnonKey(), nil)
	require.NoError(b, err)
	ws.SetReadLimit(-1)
	b.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

func (l *listener) count(n int) {
	buffer := make([]byte, 64<<10)
	for range n {
		_, r, err := l.ws.Reader(context.Background())
		for err == nil {
			_, err = r.Read(buffer)
		}
		if err.Error() != "EOF" {
			l.done <- err
			return
		}
	}
	l.done <- nil
}

// BenchmarkLatency measures the time from the commit of a lone row to its frame,
// with the real server's timing and with the fast one.
func BenchmarkLatency(b *testing.B) {
	for name, timing := range map[string]mockserver.Timing{"faithful": {}, "fast": mockserver.Fast()} {
		for _, table := range []string{"plain", "guarded"} {
			pause := 20 * time.Millisecond
			if name == "faithful" {
				pause = 600 * time.Millisecond
			}
			b.Run(name+"/"+table, func(b *testing.B) { benchLatency(b, table, timing, pause) })
		}
	}
}

func benchLatency(b *testing.B, table string, timing mockserver.Timing, pause time.Duration) {
	timing.IdleTimeout = -1 // the client sends no heartbeats
	s := startProject(b, benchSchema, timing)
	l := listen(b, s, table)
	conn, err := pgx.Connect(b.Context(), s.DatabaseURL())
	require.NoError(b, err)
	defer conn.Close(context.Background())
	write := "insert into plain (k) values (1)"
	if table == "guarded" {
		write = "insert into guarded (k, owner) values (1, '" + benchUser + "')"
	}
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for range b.N {
		time.Sleep(rand.N(pause)) // so that the poller is met at any time
		_, err := conn.Exec(b.Context(), write)
		require.NoError(b, err)
		committed := time.Now()
		_, _, err = l.ws.Read(b.Context())
		require.NoError(b, err)
		took = append(took, time.Since(committed))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

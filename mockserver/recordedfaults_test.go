package mockserver_test

import (
	"testing"
	"time"

	"github.com/gapless-go/gapless/mockserver"
)

// coldStart is about how long a server that was idle takes to subscribe.
const coldStart = 1500 * time.Millisecond

// restarts are what happened to the server and the database in scenario 18.
var restarts = map[string]func(*testing.T, *mockserver.Server){
	"server restarted now: cold tenant": fault(func(s *mockserver.Server) { s.DelaySubscribed(coldStart) }),
	"warm, second channel":              fault(func(s *mockserver.Server) { s.DelaySubscribed(0) }),
	"select pg_terminate_backend(active_pid) from pg_replication_slots where plugin='wal2json'": fault(func(s *mockserver.Server) { s.LoseSlot(time.Second) }),
	"select count(pg_terminate_backend(pid)) from pg_stat_activity where usename='supabase_admin' and application_name like 'realtime%'": fault(func(s *mockserver.Server) {
		s.LoseSlot(time.Second)
	}),
	"Postgres restarted (immediate: a fast stop waits forever for the broadcast walsender of the Realtime server)": fault(func(s *mockserver.Server) {
		s.RestartDatabase(300 * time.Millisecond)
	}),
	"server stopped with TERM": fault(func(s *mockserver.Server) { s.CloseSockets(1012) }),
	"server is down":           fault(func(s *mockserver.Server) { s.RefuseUpgrades(503, "", -1) }),
	"server is up": fault(func(s *mockserver.Server) {
		s.RefuseUpgrades(503, "", 0)
		s.DelaySubscribed(coldStart)
	}),
	"server killed":                       fault(func(s *mockserver.Server) { s.KillSockets() }),
	"POST /api/tenants/127/reload -> 204": fault(func(s *mockserver.Server) { s.Drain() }),
}

func fault(f func(*mockserver.Server)) func(*testing.T, *mockserver.Server) {
	return func(_ *testing.T, s *mockserver.Server) { f(s) }
}

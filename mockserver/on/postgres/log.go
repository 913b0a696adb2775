package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// changeLog implements project.Log. Next is of one goroutine at a time.
type changeLog struct {
	db     *Database
	ctx    context.Context
	cancel context.CancelFunc
	opened chan struct{} // closed when the fields below are set
	stream *stream
	conn   *pgx.Conn // for the questions of Next; under mu
	err    error
	mu     sync.Mutex
}

// OpenLog implements project.Database. Opening a log waits for the transactions
// that are under way, so a goroutine does, which ends with ctx.
func (db *Database) OpenLog(ctx context.Context, arrived func()) project.Log {
	l := &changeLog{db: db, opened: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(ctx)
	db.logs.Go(func() {
		l.err = l.open(arrived)
		close(l.opened)
		<-l.ctx.Done()
		if l.err == nil {
			l.end()
		}
	})
	return l
}

func (l *changeLog) open(arrived func()) error {
	if _, err := l.db.pool.Exec(l.ctx, "select realtime.mockserver_publish()"); err != nil { // what a restore or a dump left
		return asError(err)
	}
	s, err := l.db.openStream(l.ctx, "supabase_realtime_replication_slot", logged, arrived)
	if err != nil {
		return asError(err)
	}
	// A connection of its own saves the checks of the pool at each look.
	conn, err := pgx.ConnectConfig(l.ctx, l.db.pool.Config().ConnConfig)
	if err != nil {
		s.close()
		return asError(err)
	}
	l.stream, l.conn = s, conn
	return nil
}

// Opened implements project.Log.
func (l *changeLog) Opened() <-chan struct{} { return l.opened }

// Err implements project.Log.
func (l *changeLog) Err() error { return l.err }

// Close implements project.Log. What it has open is closed behind it, before
// Database.Close returns.
func (l *changeLog) Close() { l.cancel() }

// end closes what the log has open. It waits for a Next, which the end of its
// context ends.
func (l *changeLog) end() {
	l.stream.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	_ = l.conn.Close(ctx)
}

// closePatience bounds the farewell to a server that does not answer.
const closePatience = time.Second

// Next implements project.Log. What the server asks of the database it asks for
// all changes together: which columns there are and who may read them, then
// values that only PostgreSQL can write, then filters, and then, as each of the
// subscribers, which rows they see. Each is a message to PostgreSQL and back,
// and mostly there is no more than the first.
func (l *changeLog) Next(ctx context.Context, _ int, subs project.Subscribers, tooLarge func(table string) bool) ([]project.Change, error) {
	taken, err := l.stream.take(maxTaken)
	if err != nil || len(taken) == 0 {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]project.Change, len(taken))
	for i := range taken {
		out[i].Table = taken[i].rel.Namespace + "." + taken[i].rel.RelationName
	}
	p := &poll{db: l.db, conn: l.conn, all: make([]*matching, len(taken)), tooLarge: tooLarge}
	return out, asError(p.run(ctx, taken, subs, out))
}

// maxTaken is how many changes one look at the log takes, about: more than the real
// server, which asks for each of them, while this one asks for all together.
const maxTaken = 1000

// poll is one look at the log.
type poll struct {
	db     *Database
	conn   *pgx.Conn
	all    []*matching // by change; nil: of a table without subscribers
	tables map[uint32]*table

	tooLarge func(table string) bool // asked of each change
}

// matching is a change and those who may get it.
type matching struct {
	rowChange
	roles map[string][]*project.Subscription
}

func (p *poll) run(ctx context.Context, taken []change, subs project.Subscribers, out []project.Change) error {
	if err := p.look(ctx, taken, subs); err != nil {
		return err
	}
	var wanted []*rowChange
	for _, m := range p.all {
		if m != nil {
			wanted = append(wanted, &m.rowChange)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	if err := p.db.images(ctx, p.conn, wanted); err != nil {
		return err
	}
	for _, c := range wanted {
		c.TooLarge = p.tooLarge(c.table.fullName()) || c.TooLarge
	}
	if err := p.filter(ctx); err != nil {
		return err
	}
	if err := p.see(ctx); err != nil {
		return err
	}
	for i, m := range p.all {
		if m != nil {
			out[i].Deliveries = m.Deliveries(m.roles, func(role string) []bool { return m.table.may[role] })
		}
	}
	return nil
}

// look finds the subscribers of changes, and reads the catalogue.
func (p *poll) look(ctx context.Context, taken []change, subs project.Subscribers) error {
	byTable := map[uint32][]*project.Subscription{}
	roles := map[string]bool{}
	names := map[uint32]*pglogrepl.RelationMessage{}
	for i := range taken {
		oid := taken[i].rel.RelationID
		names[oid] = taken[i].rel
		if _, known := byTable[oid]; !known {
			byTable[oid] = subs(oid)
			for _, s := range byTable[oid] {
				roles[s.Caller.Role] = true
			}
		}
	}
	if err := p.describe(ctx, taken, slices.Collect(maps.Keys(names)), slices.Sorted(maps.Keys(roles))); err != nil {
		return err
	}
	for oid, rel := range names {
		if p.tables[oid] == nil {
			return fmt.Errorf("postgres: relation %s.%s does not exist", rel.Namespace, rel.RelationName)
		}
	}
	for i := range taken {
		p.all[i] = match(&taken[i], p.tables[taken[i].rel.RelationID], byTable[taken[i].rel.RelationID])
	}
	return nil
}

// match returns nil for a change that nobody subscribed to, unless the poll may
// fail of it: the real server casts the values of every change.
func match(c *change, t *table, subs []*project.Subscription) *matching {
	m := &matching{rowChange: rowChange{change: c, table: t, Change: wire.Change{Table: t.sent, Op: c.op, Commit: c.commit, RLS: t.rls}}}
	if m.roles = m.Roles(subs); len(m.roles) == 0 && !slices.ContainsFunc(t.columns, func(c column) bool { return c.mayFail() }) {
		return nil
	}
	return m
}

// keep drops subscriptions for which f is false. Those that get an error in
// the place of the change are not asked about.
func (p *poll) keep(f func(m *matching, s *project.Subscription) bool) {
	for _, m := range p.all {
		if m == nil {
			continue
		}
		for role, subs := range m.roles {
			if m.Refused(m.table.may[role]) == "" {
				m.roles[role] = slices.DeleteFunc(subs, func(s *project.Subscription) bool { return !f(m, s) })
			}
		}
	}
}

// filter drops those whose filters the change does not pass: the new row, or
// what is known of a deleted one.
func (p *poll) filter(ctx context.Context) error {
	v := verdicts{}
	p.keep(func(m *matching, s *project.Subscription) bool {
		passes := true
		for _, f := range stateOf(s).filters { // all: any of them may fail, whatever the others say
			value := m.value(f.Column)
			if holds, known := f.decide(value); !known {
				v.want(f, value)
			} else {
				passes = passes && holds
			}
		}
		return passes
	})
	if len(v) == 0 {
		return nil
	}
	if err := v.ask(ctx, p.conn); err != nil {
		return err
	}
	p.keep(func(m *matching, s *project.Subscription) bool {
		return !slices.ContainsFunc(stateOf(s).filters, func(f *filter) bool { return !v.passes(f, m.value(f.Column)) })
	})
	return nil
}

// value returns what a filter of a column is asked about; nil: it is not there.
func (c *rowChange) value(name string) []byte {
	if i, ok := c.table.byName[name]; ok {
		return c.Value(i)
	}
	return nil
}

// see drops those who do not see the row, as it is now. A DELETE is shown to
// everybody.
func (p *poll) see(ctx context.Context) error {
	g := &glances{at: map[glanceKey]*glance{}}
	p.keep(func(m *matching, s *project.Subscription) bool {
		if m.op != "DELETE" && m.table.rls {
			g.of(m.table, s).want(m.key())
		}
		return true
	})
	if len(g.sorted) == 0 {
		return nil
	}
	if err := g.look(ctx, p.conn); err != nil {
		return err
	}
	p.keep(func(m *matching, s *project.Subscription) bool {
		return m.op == "DELETE" || !m.table.rls || g.of(m.table, s).sees[m.key()]
	})
	return nil
}

// settlePatience bounds the wait for a transaction to become visible, which
// follows its commit in the log by next to nothing.
const settlePatience = 5 * time.Second

// describe reads the catalogue when what was committed is seen. PostgreSQL writes
// a commit to the log, and the log may be read, before it takes the transaction off
// the list of those that are under way. The real server reads the log so much later
// that it hardly meets with that.
func (p *poll) describe(ctx context.Context, taken []change, oids []uint32, roles []string) error {
	for deadline := time.Now().Add(settlePatience); ; time.Sleep(100 * time.Microsecond) {
		tables, snapshot, err := catalog(ctx, p.conn, oids, roles)
		if p.tables = tables; err != nil || snapshot == "" {
			return err
		}
		sees, err := parseSnapshot(snapshot)
		switch {
		case err != nil:
			return err
		case !slices.ContainsFunc(taken, func(c change) bool { return !sees(c.xid) }):
			return nil
		case time.Now().After(deadline):
			return errors.New("postgres: a committed transaction does not become visible")
		}
	}
}

// parseSnapshot reads "xmin:xmax:xip,…" and returns whether the snapshot sees
// what a transaction did that has ended. Numbers of transactions in the log
// have lost their upper half.
func parseSnapshot(s string) (sees func(xid uint32) bool, err error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return nil, fmt.Errorf("postgres: a snapshot %q", s)
	}
	max, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("postgres: a snapshot %q", s)
	}
	open := map[uint32]bool{}
	for xip := range strings.SplitSeq(parts[2], ",") {
		if n, err := strconv.ParseUint(xip, 10, 64); err == nil {
			open[uint32(n)] = true
		}
	}
	return func(xid uint32) bool { return int32(xid-uint32(max)) < 0 && !open[xid] }, nil
}

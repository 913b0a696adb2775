package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/gapless-go/gapless/mockserver/postgres/internal/pgoutput"
)

// change is a row change in PostgreSQL's log.
type change struct {
	op       string // INSERT, UPDATE or DELETE
	rel      *pgoutput.Relation
	new, old pgoutput.Tuple
	commit   time.Time
	xid      uint32
	last     bool // of its transaction
	size     int
}

// stream is a temporary replication slot and what comes out of it. A goroutine
// reads it into a queue of bounded size, and PostgreSQL waits when that is
// full. The slot ends with the connection, with all that is in it, and so does
// the stream.
type stream struct {
	conn    net.Conn
	arrived func()
	done    chan struct{} // closed when the reader has ended

	mu    sync.Mutex
	room  *sync.Cond // the queue has changed, or it is over
	queue []change
	whole int // how many changes of the queue are of transactions that are in it to their end
	size  int
	err   error // why it is over; nil: it is not
}

// maxQueue is how many bytes of changes wait to be read.
const maxQueue = 64 << 20

// errClosed is the error of a stream that was closed.
var errClosed = errors.New("postgres: the replication stream is closed")

// openStream opens a slot on a publication, for what is committed from now on.
// It waits for the transactions that are under way. Arrived is called whenever
// there is something to take.
func (db *Database) openStream(ctx context.Context, name, publication string, arrived func()) (*stream, error) {
	cfg := db.pool.Config().ConnConfig.Config.Copy()
	cfg.RuntimeParams = maps.Clone(cfg.RuntimeParams)
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["wal_sender_timeout"] = "0" // a full queue is no reason to hang up
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: the log cannot be read: %w", err)
	}
	slot := name + "_" + strings.ToLower(rand.Text()[:8]) // slots are the cluster's, and another server may be at work
	raw, err := start(ctx, conn, slot, publication)
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("postgres: the log cannot be read: %w", err)
	}
	s := &stream{conn: raw.Conn, arrived: arrived, done: make(chan struct{})}
	s.room = sync.NewCond(&s.mu)
	go s.read(raw.Frontend)
	return s, nil
}

// start makes the slot and has it stream. The names are ours.
func start(ctx context.Context, conn *pgconn.PgConn, slot, publication string) (*pgconn.HijackedConn, error) {
	create := `CREATE_REPLICATION_SLOT "` + slot + `" TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT`
	if _, err := conn.Exec(ctx, create).ReadAll(); err != nil {
		return nil, err
	}
	options := `("proto_version" '1', "publication_names" '` + publication + `')`
	conn.Frontend().SendQuery(&pgproto3.Query{String: `START_REPLICATION SLOT "` + slot + `" LOGICAL 0/0 ` + options})
	if err := conn.Frontend().Flush(); err != nil {
		return nil, err
	}
	for {
		m, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.CopyBothResponse:
			// From here on one goroutine reads and answers, without the locks and
			// deadlines of a connection for queries.
			return conn.Hijack()
		case *pgproto3.ErrorResponse:
			return nil, pgconn.ErrorResponseToPgError(m)
		}
	}
}

// read is the stream's goroutine. It ends with the connection, which close
// closes.
func (s *stream) read(in *pgproto3.Frontend) {
	defer close(s.done)
	d := decoder{relations: map[uint32]*pgoutput.Relation{}}
	acknowledged := time.Now()
	for {
		m, err := in.Receive()
		if err != nil {
			s.fail(fmt.Errorf("postgres: the replication connection is lost: %w", err))
			return
		}
		var end uint64
		switch m := m.(type) {
		case *pgproto3.CopyData:
			end, err = s.receive(&d, m.Data)
		case *pgproto3.ErrorResponse:
			err = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone:
			err = errors.New("postgres: the server ended the replication")
		}
		if err == nil && end > 0 && (m.(*pgproto3.CopyData).Data[0] == 'k' || time.Since(acknowledged) > time.Second) {
			acknowledged = time.Now()
			err = s.acknowledge(end)
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// receive takes a message of the stream. It returns the position up to which
// everything has been received, where that is known.
func (s *stream) receive(d *decoder, data []byte) (end uint64, err error) {
	switch {
	case len(data) >= 17 && data[0] == 'k':
		return binary.BigEndian.Uint64(data[1:]), nil
	case len(data) < 25 || data[0] != 'w':
		return 0, nil
	}
	c, end, err := d.decode(bytes.Clone(data[25:]))
	if err != nil {
		return 0, err
	}
	if c != nil {
		return 0, s.put(*c)
	}
	if end > 0 && s.complete() {
		s.arrived()
	}
	return end, nil
}

// acknowledge says that everything up to a position has been received. The
// slot ends with the connection, so that it is never read again from there:
// PostgreSQL may drop the log at once, and does not wait for us when it stops.
func (s *stream) acknowledge(end uint64) error {
	status := []byte{'r'}
	for range 3 { // written, flushed, applied
		status = binary.BigEndian.AppendUint64(status, end)
	}
	status = binary.BigEndian.AppendUint64(status, 0) // our clock
	frame, err := (&pgproto3.CopyData{Data: append(status, 0)}).Encode(nil)
	if err == nil {
		_, err = s.conn.Write(frame)
	}
	return err
}

// put adds a change, when there is room.
func (s *stream) put(c change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size >= maxQueue && s.err == nil {
		s.room.Wait()
	}
	s.queue = append(s.queue, c)
	if s.size += c.size; s.size >= maxQueue {
		s.room.Broadcast()
	}
	return s.err
}

// complete says that a transaction is in the queue to its end. It reports
// whether there is something to take.
func (s *stream) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = len(s.queue)
	if s.whole == 0 {
		return false
	}
	s.queue[s.whole-1].last = true
	s.room.Broadcast()
	return true
}

// take takes changes: whole transactions, up to and with the one in which max
// changes are reached; and parts of one that is too large to be kept.
func (s *stream) take(max int) ([]change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	ready := s.whole
	if s.size >= maxQueue {
		ready = len(s.queue)
	}
	n := 0
	for n < ready && (n < max || !s.queue[n-1].last) && n < maxPart {
		s.size -= s.queue[n].size
		n++
	}
	taken := s.queue[:n:n]
	s.queue = s.queue[n:]
	s.whole -= min(n, s.whole)
	if len(s.queue) == 0 {
		s.queue = nil
	}
	s.room.Broadcast()
	return taken, nil
}

// wait is take that waits until there is something to take.
func (s *stream) wait(max int) ([]change, error) {
	s.mu.Lock()
	for s.err == nil && s.whole == 0 && s.size < maxQueue {
		s.room.Wait()
	}
	s.mu.Unlock()
	return s.take(max)
}

// maxPart is how many changes of one transaction are looked at together.
const maxPart = 2000

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.room.Broadcast()
}

// close ends the slot and waits for the reader. Twice is fine.
func (s *stream) close() {
	s.fail(errClosed)
	_ = s.conn.Close()
	<-s.done
}

// decoder puts together what the messages of a stream say.
type decoder struct {
	relations map[uint32]*pgoutput.Relation
	begin     pgoutput.Begin
}

// decode reads one message. It returns a change, or the position of the end of
// a transaction, or neither.
func (d *decoder) decode(data []byte) (c *change, end uint64, err error) {
	m, err := pgoutput.Decode(data)
	if err != nil {
		return nil, 0, err
	}
	switch m := m.(type) {
	case pgoutput.Begin:
		d.begin = m
	case pgoutput.Commit:
		return nil, m.End, nil
	case pgoutput.Relation:
		d.relations[m.ID] = &m
	case pgoutput.Insert:
		return d.change("INSERT", m.Relation, m.New, nil, len(data))
	case pgoutput.Update:
		return d.change("UPDATE", m.Relation, m.New, m.Old, len(data))
	case pgoutput.Delete:
		return d.change("DELETE", m.Relation, nil, m.Old, len(data))
	}
	return nil, 0, nil
}

func (d *decoder) change(op string, relation uint32, after, before pgoutput.Tuple, size int) (*change, uint64, error) {
	rel := d.relations[relation]
	if rel == nil {
		return nil, 0, fmt.Errorf("postgres: a change of a table %d that was not described", relation)
	}
	for _, t := range []pgoutput.Tuple{after, before} {
		if t != nil && len(t) != len(rel.Columns) {
			return nil, 0, fmt.Errorf("postgres: a row of %s.%s has %d columns, and not %d", rel.Schema, rel.Name, len(t), len(rel.Columns))
		}
	}
	return &change{op: op, rel: rel, new: after, old: before, commit: d.begin.Commit, xid: d.begin.XID, size: size + 200}, 0, nil
}

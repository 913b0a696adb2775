package postgres

import (
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

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/gapless-go/gapless/internal/rescue"
)

// change is a row change in PostgreSQL's log.
type change struct {
	op       string // INSERT, UPDATE or DELETE
	rel      *pglogrepl.RelationMessage
	new, old tuple
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

// start makes the slot and starts the stream. The names are ours.
func start(ctx context.Context, conn *pgconn.PgConn, slot, publication string) (*pgconn.HijackedConn, error) {
	_, err := pglogrepl.CreateReplicationSlot(ctx, conn, slot, "pgoutput", pglogrepl.CreateReplicationSlotOptions{Temporary: true, SnapshotAction: "NOEXPORT_SNAPSHOT"})
	if err != nil {
		return nil, err
	}
	err = pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names '" + publication + "'"}})
	if err != nil {
		return nil, err
	}
	// From here on one goroutine reads and answers, without the locks and
	// deadlines of a connection for queries.
	return conn.Hijack()
}

// read is the stream's goroutine. It ends with the connection, which close
// closes.
func (s *stream) read(in *pgproto3.Frontend) {
	defer close(s.done)
	s.fail(rescue.Do("postgres: the replication stream", func() error { return s.receiveAll(in) }))
}

// receiveAll takes messages until there is an error, which it returns.
func (s *stream) receiveAll(in *pgproto3.Frontend) error {
	d := decoder{relations: map[uint32]*pglogrepl.RelationMessage{}}
	acknowledged := time.Now()
	for {
		m, err := in.Receive()
		if err != nil {
			return fmt.Errorf("postgres: the replication connection is lost: %w", err)
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
			return err
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
	c, end, err := d.decode(data[25:])
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

// tuple is a row of the log: a value for each column of its relation.
type tuple []value

// value is a column's value. The zero value is of one that is not in the log.
type value struct {
	kind byte   // of pglogrepl.TupleDataType…
	text []byte // PostgreSQL's output of it
}

func tupleOf(data *pglogrepl.TupleData) tuple {
	if data == nil {
		return nil
	}
	t := make(tuple, len(data.Columns))
	for i, c := range data.Columns {
		t[i] = value{c.DataType, c.Data}
	}
	return t
}

// decoder puts together what the messages of a stream say.
type decoder struct {
	relations map[uint32]*pglogrepl.RelationMessage
	begin     *pglogrepl.BeginMessage
}

// decode reads one message. It returns a change, or the position of the end of
// a transaction, or neither.
func (d *decoder) decode(data []byte) (c *change, end uint64, err error) {
	m, err := pglogrepl.Parse(data)
	if err != nil {
		return nil, 0, err
	}
	switch m := m.(type) {
	case *pglogrepl.BeginMessage:
		d.begin = m
	case *pglogrepl.CommitMessage:
		return nil, uint64(m.TransactionEndLSN), nil
	case *pglogrepl.RelationMessage:
		d.relations[m.RelationID] = m
	case *pglogrepl.InsertMessage:
		return d.change("INSERT", m.RelationID, m.Tuple, nil, len(data))
	case *pglogrepl.UpdateMessage:
		return d.change("UPDATE", m.RelationID, m.NewTuple, m.OldTuple, len(data))
	case *pglogrepl.DeleteMessage:
		return d.change("DELETE", m.RelationID, nil, m.OldTuple, len(data))
	}
	return nil, 0, nil
}

func (d *decoder) change(op string, relation uint32, after, before *pglogrepl.TupleData, size int) (*change, uint64, error) {
	rel := d.relations[relation]
	if rel == nil {
		return nil, 0, fmt.Errorf("postgres: a change of a table %d that was not described", relation)
	}
	c := &change{op: op, rel: rel, new: tupleOf(after), old: tupleOf(before), commit: d.begin.CommitTime, xid: d.begin.Xid, size: size + 200}
	for _, t := range []tuple{c.new, c.old} {
		if t != nil && len(t) != len(rel.Columns) {
			return nil, 0, fmt.Errorf("postgres: a row of %s.%s has %d columns, and not %d", rel.Namespace, rel.RelationName, len(t), len(rel.Columns))
		}
	}
	return c, 0, nil
}

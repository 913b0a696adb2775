package memdb

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// storedMessage is a row of realtime.messages, as the functions of the database
// write it. Broadcasts of clients are not stored.
type storedMessage struct {
	project.Message
	inserted time.Time
}

// RealtimeSend is Server.RealtimeSend as part of the transaction: the message
// goes out, and counts as sent, only if that commits. An error dooms it.
func (tx *Tx) RealtimeSend(payload any, event, topic string, private bool) error {
	return tx.step(func() error {
		raw, err := json.Marshal(payload)
		if err != nil {
			return pgtype.Errorf(pgtype.CodeBadParameter, "the payload is no JSON: %v", err)
		}
		v, err := pgtype.ParseJSON(string(raw))
		if err != nil {
			return err
		}
		fields, ok := v.(pgtype.Object)
		if !ok {
			return pgtype.Errorf(pgtype.CodeBadParameter, "cannot send a payload that is no object")
		}
		tx.message(event, topic, private, fields)
		return nil
	})
}

// RealtimeSendBinary is Server.RealtimeSendBinary as part of the transaction.
func (tx *Tx) RealtimeSendBinary(payload []byte, event, topic string, private bool) error {
	return tx.step(func() error {
		tx.messages = append(tx.messages, storedMessage{project.Message{
			ID: uuid.NewString(), Topic: topic, Event: event, Private: private, Binary: true, Payload: slices.Clone(payload),
		}, tx.began})
		return nil
	})
}

// BroadcastChanges is Server.BroadcastChanges as part of the transaction.
func (tx *Tx) BroadcastChanges(topic, event, operation, relation string, after, before Row) error {
	return tx.statement(relation, func(t *table) error {
		if !slices.Contains([]string{"INSERT", "UPDATE", "DELETE"}, operation) {
			return pgtype.Errorf(pgtype.CodeBadParameter, "there is no operation %q", operation)
		}
		record, err := t.toJSONB(after)
		if err != nil {
			return err
		}
		old, err := t.toJSONB(before)
		if err != nil {
			return err
		}
		tx.message(event, topic, true, pgtype.Object{
			{Key: "table", Value: t.name}, {Key: "record", Value: record}, {Key: "schema", Value: t.schema}, {Key: "operation", Value: operation}, {Key: "old_record", Value: old},
		})
		return nil
	})
}

// RealtimeSend is Server.RealtimeSend as part of the transaction, for a trigger
// or a function that may do so whoever calls it (SECURITY DEFINER).
func (f *FuncTx) RealtimeSend(payload any, event, topic string, private bool) error {
	return f.tx.RealtimeSend(payload, event, topic, private)
}

// RealtimeSendBinary is Server.RealtimeSendBinary as part of the transaction, for a
// trigger or a function that may do so whoever calls it (SECURITY DEFINER).
func (f *FuncTx) RealtimeSendBinary(payload []byte, event, topic string, private bool) error {
	return f.tx.RealtimeSendBinary(payload, event, topic, private)
}

// BroadcastChanges is Server.BroadcastChanges as part of the transaction, for a
// trigger or a function that may do so whoever calls it (SECURITY DEFINER).
func (f *FuncTx) BroadcastChanges(topic, event, operation, table string, after, before Row) error {
	return f.tx.BroadcastChanges(topic, event, operation, table, after, before)
}

// message adds a message to the transaction. Its payload gets an id.
func (tx *Tx) message(event, topic string, private bool, payload pgtype.Object) {
	id := uuid.NewString()
	if !slices.ContainsFunc(payload, func(m pgtype.Member) bool { return m.Key == "id" }) {
		payload = append(payload, pgtype.Member{Key: "id", Value: id})
		payload.Sort()
	}
	tx.messages = append(tx.messages, storedMessage{project.Message{
		ID: id, Topic: topic, Event: event, Private: private, Payload: pgtype.AppendJSONB(nil, payload),
	}, tx.began})
}

// toJSONB is to_jsonb of a row: nil of none.
func (t *table) toJSONB(r Row) (any, error) {
	if r == nil {
		return nil, nil
	}
	values, err := t.datums(r)
	if err != nil {
		return nil, err
	}
	var fields pgtype.Object
	for i, c := range t.columns {
		var value any
		if v := values[i]; v != nil {
			if value, err = pgtype.ParseJSON(string(c.Type.JSON(v))); err != nil {
				return nil, err
			}
		}
		fields = append(fields, pgtype.Member{Key: c.Name, Value: value})
	}
	fields.Sort()
	return fields, nil
}

// keptFor is how long messages stay at least: whole days are dropped.
const keptFor = 72 * time.Hour

// The store is bounded where a real one is not.
const (
	maxStored      = 100_000
	maxStoredBytes = 64 << 20
)

// messageStore is the table realtime.messages. Its mutex also orders the
// delivery of messages.
type messageStore struct {
	mu      sync.Mutex
	deliver func(project.Message) // nil: nobody relays them
	rows    []storedMessage       // in the order of their commits
	bytes   int
}

// deliverMessages stores and delivers what transactions have sent, in the order of
// their commits.
func (db *Database) deliverMessages() {
	db.store.mu.Lock()
	defer db.store.mu.Unlock()
	for _, m := range db.takeMessages() {
		db.store.add(m)
		if db.store.deliver != nil {
			db.store.deliver(m.Message)
		}
	}
}

func (s *messageStore) add(m storedMessage) {
	s.rows = append(s.rows, m)
	s.bytes += len(m.Payload)
	oldest := time.Now().Add(-keptFor).UTC().Truncate(24 * time.Hour)
	for len(s.rows) > maxStored || s.bytes > maxStoredBytes || s.rows[0].inserted.Before(oldest) {
		s.bytes -= len(s.rows[0].Payload)
		s.rows[0] = storedMessage{}
		s.rows = s.rows[1:]
		if len(s.rows) == 0 {
			return
		}
	}
}

// since returns the newest private messages of a topic since a time, the
// oldest first.
func (s *messageStore) since(topic string, since time.Time, limit int) []project.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := time.Now().Add(-keptFor).UTC().Truncate(24 * time.Hour)
	var found []storedMessage
	for _, m := range s.rows {
		if m.Private && m.Topic == topic && !m.inserted.Before(since) && !m.inserted.Before(oldest) {
			found = append(found, m)
		}
	}
	slices.SortStableFunc(found, func(a, b storedMessage) int { return a.inserted.Compare(b.inserted) })
	newest := make([]project.Message, 0, limit)
	for _, m := range found[max(0, len(found)-limit):] {
		newest = append(newest, m.Message)
	}
	return newest
}

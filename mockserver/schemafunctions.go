package mockserver

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
)

// sendArguments are those of realtime.send and realtime.send_binary.
type sendArguments struct {
	Payload json.RawMessage `json:"payload"`
	Event   string          `json:"event"`
	Topic   string          `json:"topic"`
	Private *bool           `json:"private"`
}

// schemaFunctions returns the functions of a schema file, each of which calls
// one of the schema realtime, which the REST API does not show. They are for
// the service alone.
func schemaFunctions(names map[string]string) (map[string]memdb.Function, error) {
	functions := map[string]memdb.Function{}
	for name, calls := range names {
		var send func(*memdb.FuncTx, sendArguments) error
		switch calls {
		case "realtime.send":
			send = sendJSON
		case "realtime.send_binary":
			send = sendBinary
		default:
			return nil, fmt.Errorf("function %s: there is no function %q to call", name, calls)
		}
		functions[name] = func(tx *memdb.FuncTx, args map[string]json.RawMessage) (any, error) {
			if !memdb.BypassesRLS(tx.Role()) {
				return nil, pgtype.Errorf(pgtype.CodeNoRight, "permission denied for function %s", name)
			}
			a := sendArguments{}
			b, err := json.Marshal(args)
			if err == nil {
				err = json.Unmarshal(b, &a)
			}
			if err != nil {
				return nil, pgtype.Errorf(pgtype.CodeBadParameter, "the arguments of %s: %v", calls, err)
			}
			return memdb.Void{}, send(tx, a)
		}
	}
	return functions, nil
}

func (a sendArguments) private() bool { return a.Private == nil || *a.Private }

// sendJSON is realtime.send, which gives no more than a warning for a payload
// that is no object.
func sendJSON(tx *memdb.FuncTx, a sendArguments) error {
	if !strings.HasPrefix(strings.TrimSpace(string(a.Payload)), "{") {
		return nil
	}
	return tx.RealtimeSend(a.Payload, a.Event, a.Topic, a.private())
}

func sendBinary(tx *memdb.FuncTx, a sendArguments) error {
	var text string
	if err := json.Unmarshal(a.Payload, &text); err != nil {
		return pgtype.Errorf(pgtype.CodeBadParameter, "the payload is not bytea: %v", err)
	}
	payload, err := hex.DecodeString(strings.TrimPrefix(text, `\x`))
	if err != nil {
		return pgtype.Errorf(pgtype.CodeBadParameter, "the payload is not bytea: %v", err)
	}
	return tx.RealtimeSendBinary(payload, a.Event, a.Topic, a.private())
}

var topicColumn = regexp.MustCompile(`\{(\w+)\}`)

// broadcastTrigger returns the trigger that calls realtime.broadcast_changes
// with a topic in which {column} stands for the row's value.
func broadcastTrigger(table, topic string) func(*memdb.FuncTx, string, memdb.Row, memdb.Row) error {
	return func(tx *memdb.FuncTx, operation string, after, before memdb.Row) error {
		written := after
		if written == nil {
			written = before
		}
		to := topicColumn.ReplaceAllStringFunc(topic, func(column string) string {
			return fmt.Sprint(written[strings.Trim(column, "{}")])
		})
		return tx.BroadcastChanges(to, operation, operation, table, after, before)
	}
}

package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gapless-go/gapless/internal/phoenix"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
	"github.com/gapless-go/gapless/mockserver/internal/wire"
)

// owner is whose a project.Subscription is.
type owner struct {
	ch    *channel
	order int // of the binding, in its channel
	id    int // of the binding
}

func ownerOf(s *project.Subscription) *owner { return s.Owner.(*owner) }

// bindingError is the server's message about bindings that it cannot take.
type bindingError string

func (e bindingError) Error() string { return string(e) }

// bindingParams is what a binding asks for.
type bindingParams struct {
	event, schema, table string
	filters              []project.Filter
	columns              []string // nil: all
}

// String writes them as the server's messages do.
func (p bindingParams) String() string {
	columns := "nil"
	if p.columns != nil {
		columns = wire.InspectStrings(p.columns)
	}
	return fmt.Sprintf("[event: %s, schema: %s, table: %s, filters: %s, select: %s]",
		p.event, p.schema, p.table, wire.InspectFilters(p.filters), columns)
}

// params reads the binding. The error is a bindingError.
func (b binding) params() (p bindingParams, err error) {
	p.event = b.event()
	if p.columns, err = b.columns(); err != nil {
		return p, err
	}
	schema, schemaOK := rawjson.Text(b.fields["schema"])
	table, tableOK := rawjson.Text(b.fields["table"])
	filter, filterOK := rawjson.Text(b.fields["filter"])
	hasSchema, hasTable, hasFilter := b.has("schema"), b.has("table"), b.has("filter")
	switch {
	case schemaOK && tableOK && filterOK:
		p.schema, p.table = schema, table
		if p.filters, err = wire.ParseFilters(filter); err != nil {
			return p, bindingError("Error parsing `filter` params: " + err.Error())
		}
	case schemaOK && tableOK && !hasFilter:
		p.schema, p.table = schema, table
	case schemaOK && !hasTable && !hasFilter:
		p.schema, p.table = schema, "*"
	case tableOK && !hasSchema && !hasFilter:
		p.schema, p.table = "public", table
	default:
		return p, bindingError("No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: " + wire.InspectJSON(b.object))
	}
	if p.columns != nil && (p.schema == "*" || p.table == "*") {
		return p, bindingError("Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name.")
	}
	return p, nil
}

func (b binding) has(field string) bool {
	_, ok := b.fields[field]
	return ok
}

// event takes the three events in any case, and everything else as all.
func (b binding) event() string {
	event, _ := rawjson.Text(b.fields["event"])
	if event = strings.ToUpper(event); slices.Contains([]string{"INSERT", "UPDATE", "DELETE"}, event) {
		return event
	}
	return "*"
}

// columns reads select: a list, of which all that is no string is dropped.
func (b binding) columns() (columns []string, err error) {
	if _, isText := rawjson.Text(b.fields["select"]); isText {
		return nil, bindingError("Error parsing `select` params: expected a list of column name strings, e.g. select: [\"col1\", \"col2\"]")
	}
	var list []json.RawMessage
	if json.Unmarshal(b.fields["select"], &list) != nil {
		return nil, nil
	}
	for _, entry := range list {
		if column, ok := rawjson.Text(entry); ok {
			columns = append(columns, column)
		}
	}
	return columns, nil
}

// subscribeIn subscribes after a while, and not before that even if it was
// about to.
func (ch *channel) subscribeIn(d time.Duration) {
	if ch.subscribe != nil {
		ch.subscribe.Stop()
	}
	if d <= 0 {
		ch.subscribeNow()
		return
	}
	ch.subscribe = ch.after(d, ch.subscribeNow)
}

// subscribeNow puts the subscriptions of all bindings in the place of those
// that the channel has, or none of them, and says which.
func (ch *channel) subscribeNow() {
	rt := ch.conn.rt
	message := rt.Faults.FailedSubscription()
	var subs []*project.Subscription
	switch {
	case rt.Faults.SubscriptionTerminated():
		message = ch.terminatedSubscription()
	case rt.Faults.Outage() != nil:
		message = databaseTimeouts
	case message == "":
		var err error
		if subs, err = ch.subscriptions(); errors.Is(err, project.ErrUnavailable) {
			message = databaseTimeouts
		} else if err != nil {
			message = err.Error()
		}
	}
	if message != "" {
		rt.db.Unsubscribe(subs)
		ch.system(phoenix.ExtensionPostgresChanges, phoenix.StatusError, message)
		if !isParameterError(message) {
			ch.subscribeIn(max(1, ch.conn.chance.Between(rt.timing.RetryMin, rt.timing.RetryMax)))
		}
		return
	}
	if !rt.awake() {
		rt.db.Unsubscribe(subs)
		ch.subscribeIn(max(1, ch.conn.chance.Between(rt.timing.ResubscribeMin, rt.timing.ResubscribeMax)))
		return
	}
	if ch.lossy {
		ignoreBefore(time.Now(), subs)
		ch.lossy = false
	}
	rt.replace(ch, subs)
	if rt.Faults.SubscribedSilently() {
		return
	}
	ch.told = true
	ch.system(phoenix.ExtensionPostgresChanges, phoenix.StatusOK, phoenix.MessageSubscribed)
}

// terminatedSubscription returns the message about a subscription whose
// connection was terminated: that of a binding that cannot be read, or the
// connection's, which the server blames on the first binding.
func (ch *channel) terminatedSubscription() string {
	var first bindingParams
	for i, b := range ch.config.bindings {
		p, err := b.params()
		if err != nil {
			return err.Error()
		}
		if i == 0 {
			first = p
		}
	}
	return bindingException(first, connectionTerminated)
}

// bindingException is the message about an exception of PostgreSQL in one
// binding.
func bindingException(p bindingParams, exception string) string {
	return fmt.Sprintf("Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: %v. Exception: %s", p, exception)
}

// databaseTimeouts is what the server says of a subscription for which the
// database does not answer, before it tries again.
const databaseTimeouts = `{:error, "Too many database timeouts"}`

// ignoreBefore makes subscriptions blind for what was committed before. The
// time of a commit is in microseconds.
func ignoreBefore(at time.Time, subs []*project.Subscription) {
	for _, s := range subs {
		s.From = at.Truncate(time.Microsecond)
	}
}

// isParameterError reports whether a message is about what the client asked
// for, in which case the server does not try again.
func isParameterError(message string) bool {
	return slices.ContainsFunc([]string{"Unable to subscribe to changes", "Error parsing ", "No subscription params", "Column selection "},
		func(prefix string) bool { return strings.HasPrefix(message, prefix) })
}

// subscriptions makes the channel's subscriptions. The error is a bindingError:
// of what cannot be read in any binding before what PostgreSQL refuses in one;
// or project.ErrUnavailable. With one, the subscriptions are those made before.
func (ch *channel) subscriptions() (all []*project.Subscription, err error) {
	params := make([]bindingParams, len(ch.config.bindings))
	for i, b := range ch.config.bindings {
		if params[i], err = b.params(); err != nil {
			return all, err
		}
	}
	for i, p := range params {
		subs, err := ch.bind(i, p)
		var refused *pgtype.Error
		if errors.As(err, &refused) {
			return all, bindingError(bindingException(p, fmt.Sprintf("ERROR %s (%s) %s", refused.Code, conditionName(refused.Code), refused.Message)))
		}
		if err != nil {
			return all, err
		}
		if len(subs) == 0 {
			return all, bindingError("Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: " + p.String())
		}
		all = append(all, subs...)
	}
	return all, nil
}

// conditions names the SQLSTATE codes that a subscription may fail with.
var conditions = map[string]string{
	pgtype.CodeBadText:          "invalid_text_representation",
	pgtype.CodeOutOfRange:       "numeric_value_out_of_range",
	pgtype.CodeTooLong:          "string_data_right_truncation",
	pgtype.CodeBadTime:          "invalid_datetime_format",
	pgtype.CodeTimeRange:        "datetime_field_overflow",
	pgtype.CodeBadParameter:     "invalid_parameter_value",
	pgtype.CodeDatatypeMismatch: "datatype_mismatch",
	"22021":                     "character_not_in_repertoire",
	"22P05":                     "untranslatable_character",
	"42704":                     "undefined_object",
	"54000":                     "program_limit_exceeded",
	"P0001":                     "raise_exception",
}

func conditionName(code string) string {
	if name, ok := conditions[code]; ok {
		return name
	}
	return "data_exception"
}

// bind makes the subscriptions of one binding. The error is PostgreSQL's, an
// *Error, or project.ErrUnavailable.
func (ch *channel) bind(order int, p bindingParams) (subs []*project.Subscription, err error) {
	rt := ch.conn.rt
	ctx, cancel := context.WithTimeout(rt.ctx, databasePatience)
	defer cancel()
	b := project.Binding{Event: p.event, Schema: p.schema, Table: p.table, Columns: p.columns, Filters: p.filters}
	subs, err = rt.db.Subscribe(ctx, callerOf(ch.who.claims), b)
	for _, s := range subs {
		s.Owner = &owner{ch: ch, order: order, id: ch.config.bindings[order].id}
	}
	var refused *pgtype.Error
	if err != nil && !errors.Is(err, project.ErrUnavailable) && !errors.As(err, &refused) {
		err = pgtype.Errorf("08006", "%v", err)
	}
	return subs, err
}

// callerOf returns on whose behalf something with these claims is done.
func callerOf(claims project.Claims) project.Caller {
	return project.Caller{Role: project.RoleOf(claims), Claims: claims}
}

// replace puts subscriptions in the place of those that the channel has. The
// first ones start the poller, and the count of changes.
func (rt *Server) replace(ch *channel, subs []*project.Subscription) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.closed {
		rt.db.Unsubscribe(subs)
		return
	}
	rt.remove(ch)
	if len(subs) > 0 && rt.poller == nil {
		rt.startPoller()
	}
	if len(subs) > 0 && !rt.counting {
		rt.counting = true
		rt.changes.tickNow()
	}
	for _, s := range subs {
		rt.subs[s.Table] = append(rt.subs[s.Table], s)
	}
}

// unsubscribe ends the channel's subscriptions.
func (rt *Server) unsubscribe(ch *channel) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.remove(ch)
}

// remove is unsubscribe under mu. Lists are copied, since the poller reads
// them without mu.
func (rt *Server) remove(ch *channel) {
	var gone []*project.Subscription
	for t, subs := range rt.subs {
		kept := slices.DeleteFunc(slices.Clone(subs), func(s *project.Subscription) bool {
			if ownerOf(s).ch == ch {
				gone = append(gone, s)
			}
			return ownerOf(s).ch == ch
		})
		rt.subs[t] = kept
		if len(kept) == 0 {
			delete(rt.subs, t)
		}
	}
	rt.db.Unsubscribe(gone)
	if len(rt.subs) == 0 {
		rt.asleep = time.Now()
	}
}

// removeAll ends all subscriptions. The caller holds mu.
func (rt *Server) removeAll() {
	for _, subs := range rt.subs {
		rt.db.Unsubscribe(subs)
	}
	clear(rt.subs)
}

// subscribed returns the subscriptions on a table.
func (rt *Server) subscribed(table uint32) []*project.Subscription {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.subs[table]
}

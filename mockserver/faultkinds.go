package mockserver

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/gapless-go/gapless/mockserver/internal/fault"
	"github.com/gapless-go/gapless/mockserver/internal/rest"
)

// The parameters that several faults have.
type (
	noParams     struct{}
	socketParams struct {
		Socket int `json:"socket" doc:"the number of a socket; 0: every one"`
	}
	channelParams struct {
		Socket int    `json:"socket" doc:"the number of a socket; 0: every one"`
		Topic  string `json:"topic" doc:"the topic of a channel; empty: every one"`
	}
	messageParams struct {
		Socket  int    `json:"socket" doc:"the number of a socket; 0: every one"`
		Topic   string `json:"topic" doc:"the topic of a channel; empty: every one"`
		Message string `json:"message" doc:"the text of the system message"`
	}
	timesParams struct {
		Times int `json:"times" doc:"how many; negative: until further notice; 0: no more"`
	}
	tableTimesParams struct {
		Table string `json:"table" doc:"changes of which table; empty: of any"`
		Times int    `json:"times" doc:"how many; negative: until further notice; 0: no more"`
	}
	reasonParams struct {
		Reason string `json:"reason" doc:"why, in the words of the server"`
		Times  int    `json:"times" doc:"how many; negative: until further notice; 0: no more"`
	}
	forParams struct {
		For span `json:"for" doc:"how long"`
	}
	byParams struct {
		By span `json:"by" doc:"how much later; 0: as usual"`
	}
	tableParams struct {
		Table string `json:"table" doc:"the name of the table"`
	}
)

// faultKinds are the faults by name. Of those of one loss, the first goes by
// the loss's name, too.
var faultKinds = slices.Concat(socketFaults, joinFaults, lossFaults, changeFaults, dataFaults)

var socketFaults = []faultKind{
	newFault("kill-sockets", "ends sockets without a close frame", socketParams{}, func(s *Server, p socketParams) error {
		return target{socket: p.Socket}.eachSocket(s.realtime, func(c *conn) { c.kill() })
	}).loses("L1").at(func(*rand.Rand) any { return socketParams{} }),
	newFault("close-sockets", "closes sockets with a code", closeParams{Code: 1011}, closeSockets).loses("L1").
		at(func(r *rand.Rand) any { return closeParams{Code: pick(r, 1000, 1001, 1011, 1012)} }),
	newFault("drain", `says "Server requested disconnect" on every channel and closes sockets with code 1012`, noParams{},
		always(func(s *Server, _ noParams) { s.Drain() })).loses("L1").at(func(*rand.Rand) any { return noParams{} }),
	newFault("restart", "drains the server and has it away for a while, after which it remembers nothing", forParams{span(5 * time.Second)},
		always(func(s *Server, p forParams) { s.Restart(time.Duration(p.For)) })).loses("L1").
		at(func(r *rand.Rand) any { return forParams{between(r, 0, 5*time.Second)} }),
	newFault("block-sockets", "holds sockets up: they neither read, answer nor send, and then go on in order", blockParams{For: span(5 * time.Second)}, blockSockets).
		at(func(r *rand.Rand) any { return blockParams{For: between(r, time.Second, 20*time.Second)} }),
	newFault("mute-heartbeats", "leaves heartbeats unanswered", onParams{true}, always(func(s *Server, p onParams) { s.MuteHeartbeats(p.On) })).
		undoneBy(onParams{}).at(func(*rand.Rand) any { return onParams{true} }),
	newFault("refuse-upgrades", "refuses sockets with a status", refuseParams{429, "Too many connected users", 1},
		refuseUpgrades).
		undoneBy(refuseParams{}).at(func(r *rand.Rand) any {
		return refuseParams{pick(r, 429, 500, 503), "Error connecting to Realtime", 1 + r.IntN(3)}
	}),
	newFault("limit-joins", "has the project over its limit of joins a second for a while: 429, refused joins, close 1001", forParams{span(5 * time.Second)},
		always(func(s *Server, p forParams) { s.LimitJoins(time.Duration(p.For)) })).
		at(func(r *rand.Rand) any { return forParams{between(r, time.Second, 10*time.Second)} }),
	newFault("limit-backlog", "kills sockets for which more bytes wait", bytesParams{4096}, always(func(s *Server, p bytesParams) { s.LimitBacklog(p.Bytes) })).
		loses("L10").undoneBy(bytesParams{}),
	newFault("send-raw", "sends a message of any text to sockets", rawParams{}, sendRaw),
}

var joinFaults = []faultKind{
	newFault("refuse-joins", "refuses joins for a reason, of the form \"Code: text\"", reasonParams{"ChannelRateLimitReached: Too many channels", 1},
		always(func(s *Server, p reasonParams) { s.RefuseJoins(p.Reason, p.Times) })).undoneBy(reasonParams{}).
		at(func(r *rand.Rand) any {
			return reasonParams{pick(r, "IncreaseConnectionPool: Please increase your connection pool size", "TimeoutOnRpcCall: Node request timeout"), 1 + r.IntN(2)}
		}),
	newFault("ignore-joins", "never answers joins", timesParams{1}, always(func(s *Server, p timesParams) { s.IgnoreJoins(p.Times) })).
		undoneBy(timesParams{}).at(once),
	newFault("delay-joins", "makes joins take longer, and all else on the socket wait for them", byParams{span(5 * time.Second)},
		always(func(s *Server, p byParams) { s.DelayJoins(time.Duration(p.By)) })).
		undoneBy(byParams{}).at(func(r *rand.Rand) any { return byParams{between(r, 0, 12*time.Second)} }),
	newFault("delay-refusals", "makes refused joins take longer, and all else on the socket wait for them", byParams{span(5 * time.Second)},
		always(func(s *Server, p byParams) { s.DelayRefusals(time.Duration(p.By)) })).undoneBy(byParams{}),
	newFault("delay-subscribed", `makes "Subscribed to PostgreSQL" come later, and changes with it`, byParams{span(5 * time.Second)},
		always(func(s *Server, p byParams) { s.DelaySubscribed(time.Duration(p.By)) })).loses("L1").
		undoneBy(byParams{}).at(func(r *rand.Rand) any { return byParams{between(r, 0, 9*time.Second)} }),
	newFault("omit-subscribed", `never says "Subscribed to PostgreSQL", though changes come`, timesParams{1},
		always(func(s *Server, p timesParams) { s.OmitSubscribed(p.Times) })).undoneBy(timesParams{}).at(once),
	newFault("repeat-subscribed", `says "Subscribed to PostgreSQL" once more, and loses nothing`, noParams{},
		always(func(s *Server, _ noParams) { s.RepeatSubscribed() })).at(func(*rand.Rand) any { return noParams{} }),
	newFault("fail-subscriptions", "fails subscriptions to changes with a message", subscriptionParams{`{:error, "Too many database timeouts"}`, 1},
		always(func(s *Server, p subscriptionParams) { s.FailSubscriptions(p.Message, p.Times) })).undoneBy(subscriptionParams{}).
		at(func(r *rand.Rand) any {
			return subscriptionParams{`{:error, "Too many database timeouts"}`, 1 + r.IntN(2)}
		}),
	newFault("close-channels", "closes channels, with a system message that says why", messageParams{Message: "Too many messages per second"}, func(s *Server, p messageParams) error {
		return target{p.Socket, p.Topic}.eachChannel(s.realtime, func(ch *channel) { ch.shutdown(p.Message) })
	}).loses("L1").at(func(*rand.Rand) any { return messageParams{Message: "Too many messages per second"} }),
	newFault("crash-channels", "ends channels with phx_error", channelParams{}, func(s *Server, p channelParams) error {
		return target{p.Socket, p.Topic}.eachChannel(s.realtime, (*channel).crash)
	}).loses("L1").at(func(*rand.Rand) any { return channelParams{} }),
}

var lossFaults = []faultKind{
	newFault("delay-slot", "makes the slot come later than \"Subscribed to PostgreSQL\" whenever the workers start", byParams{span(2 * time.Second)},
		always(func(s *Server, p byParams) { s.DelaySlot(time.Duration(p.By)) })).loses("L2").silently().
		undoneBy(byParams{}).at(func(r *rand.Rand) any { return byParams{between(r, 0, 5*time.Second)} }),
	newFault("fail-polls", "makes polls that find something fail: what they found is lost, and the slot for a while", timesParams{1},
		always(func(s *Server, p timesParams) { s.FailPolls(p.Times) })).loses("L3").silently().
		undoneBy(timesParams{}).at(once),
	newFault("time-out-polls", "makes polls that find something take over 15 s and fail: what they found is lost, and the slot with what was committed meanwhile", timesParams{1},
		always(func(s *Server, p timesParams) { s.TimeOutPolls(p.Times) })).loses("L3").silently().undoneBy(timesParams{}),
	newFault("restart-database", "has the database away for a while: the slot is lost, and REST answers 503", forParams{span(3 * time.Second)},
		always(func(s *Server, p forParams) { s.RestartDatabase(time.Duration(p.For)) })).loses("L4").silently().
		undoneBy(forParams{}).at(func(r *rand.Rand) any { return forParams{between(r, 0, 8*time.Second)} }),
	newFault("terminate-connections", "terminates the server's database connections: private joins and subscriptions that meet one are refused for good, and the slot is lost", timesParams{1},
		always(func(s *Server, p timesParams) { s.TerminateConnections(p.Times) })).loses("L4").silently().undoneBy(timesParams{}),
	newFault("exhaust-connections", "takes all connections of the database for a while: the slot is lost, and REST answers 503", forParams{span(3 * time.Second)},
		always(func(s *Server, p forParams) { s.ExhaustConnections(time.Duration(p.For)) })).loses("L4").silently().undoneBy(forParams{}),
	newFault("lose-slot", "drops the slot and makes another one after a while", forParams{}, always(func(s *Server, p forParams) { s.LoseSlot(time.Duration(p.For)) })).
		loses("L4").silently().at(func(r *rand.Rand) any { return forParams{between(r, 0, 3*time.Second)} }),
	newFault("stop-workers", "stops the workers: nobody hears of any change until somebody subscribes", noParams{},
		always(func(s *Server, _ noParams) { s.StopWorkers() })).loses("L5").silently().at(func(*rand.Rand) any { return noParams{} }),
	newFault("restart-workers", "starts the workers anew and deletes all subscriptions: channels are deaf until they join again", noParams{},
		always(func(s *Server, _ noParams) { s.RestartWorkers() })).loses("L6").silently().at(func(*rand.Rand) any { return noParams{} }),
	newFault("exceed-rate", "discards changes for a while, and 5 s at least, as over the limit of events", forParams{span(5 * time.Second)},
		always(func(s *Server, p forParams) { s.ExceedRate(time.Duration(p.For)) })).loses("L7").silently().
		at(func(r *rand.Rand) any { return forParams{between(r, 5*time.Second, 15*time.Second)} }),
	newFault("resubscribe", `deletes all subscriptions and makes them anew after 1 to 3 s, with another "Subscribed to PostgreSQL"`, noParams{},
		always(func(s *Server, _ noParams) { s.Resubscribe() })).loses("L8").at(func(*rand.Rand) any { return noParams{} }),
	newFault("publish", "adds a table to the publication or removes it, which the server notices within a minute", publishParams{},
		func(s *Server, p publishParams) error { return s.Publish(p.Table, p.On) }).loses("L8"),
	newFault("hide-rows", "hides rows from the roles that row level security applies to", hideParams{},
		func(s *Server, p hideParams) error { return s.HideRows(p.Table, p.Where.row()) }).loses("L9").silently(),
	newFault("truncate-table", "removes all rows of a table at once", tableParams{},
		func(s *Server, p tableParams) error { return s.Truncate(p.Table) }).loses("L9").silently(),
	newFault("expire-tokens", "closes channels as if their tokens had expired", channelParams{}, func(s *Server, p channelParams) error {
		return target{p.Socket, p.Topic}.eachChannel(s.realtime, func(ch *channel) { ch.shutdown(tokenExpiredNow) })
	}).loses("L11").at(func(*rand.Rand) any { return channelParams{} }),
	newFault("refuse-tokens", "closes channels that send another token", reasonParams{"The token provided is not a valid JWT", 1},
		always(func(s *Server, p reasonParams) { s.RefuseTokens(p.Reason, p.Times) })).loses("L11").
		undoneBy(reasonParams{}).at(func(*rand.Rand) any { return reasonParams{noDatabase, 1} }),
	newFault("truncate-changes", "makes changes come as those over 1 MB do: Error 413, without NULLs and long values", tableTimesParams{Times: 1}, func(s *Server, p tableTimesParams) error {
		return s.setTableBudget(&s.realtime.faults.truncated, p)
	}).loses("L12").undoneBy(tableTimesParams{}).at(few),
}

var changeFaults = []faultKind{
	newFault("drop-changes", "loses row changes", tableTimesParams{Times: 1}, func(s *Server, p tableTimesParams) error {
		return s.setTableBudget(&s.realtime.faults.dropped, p)
	}).silently().undoneBy(tableTimesParams{}).at(few),
	newFault("duplicate-changes", "delivers row changes twice", tableTimesParams{Times: 1}, func(s *Server, p tableTimesParams) error {
		return s.setTableBudget(&s.realtime.faults.doubled, p)
	}).silently().undoneBy(tableTimesParams{}).at(few),
	newFault("reorder-changes", "delivers row changes in another order", timesParams{2}, always(func(s *Server, p timesParams) { s.ReorderChanges(p.Times) })).
		silently().undoneBy(timesParams{}).at(func(r *rand.Rand) any { return timesParams{2 + r.IntN(3)} }),
	newFault("delay-changes", "delivers row changes later, in their order", byParams{span(2 * time.Second)},
		always(func(s *Server, p byParams) { s.DelayChanges(time.Duration(p.By)) })).silently().
		undoneBy(byParams{}).at(func(r *rand.Rand) any { return byParams{between(r, 0, 3*time.Second)} }),
}

var dataFaults = []faultKind{
	newFault("hide-commits", "makes commits visible to others later than Realtime delivers them", hideCommitsParams{span(time.Second), 1},
		always(func(s *Server, p hideCommitsParams) { s.HideCommits(time.Duration(p.For), p.Times) })).silently().
		undoneBy(hideCommitsParams{}).at(func(r *rand.Rand) any { return hideCommitsParams{between(r, 0, time.Second), 1 + r.IntN(5)} }),
	newFault("rest", "makes requests to the REST API slow, stale, cut, or answered with a status; to be ended by healing", restParams{}, injectREST).
		at(randomRESTFault),
	newFault("limit-rows", "makes answers of the REST API hold no more rows", rowsParams{1000}, always(func(s *Server, p rowsParams) { s.LimitRows(p.Rows) })).
		silently().undoneBy(rowsParams{}).at(func(r *rand.Rand) any { return rowsParams{1 + r.IntN(5)} }),
}

type closeParams struct {
	Socket int `json:"socket" doc:"the number of a socket; 0: every one"`
	Code   int `json:"code" doc:"the code of the close frame"`
}

type blockParams struct {
	Socket int  `json:"socket" doc:"the number of a socket; 0: every one"`
	For    span `json:"for" doc:"how long"`
}

type onParams struct {
	On bool `json:"on" doc:"whether it is so"`
}

type refuseParams struct {
	Status int    `json:"status" doc:"the HTTP status, 400 to 599"`
	Text   string `json:"text" doc:"the text of the error; empty: no body"`
	Times  int    `json:"times" doc:"how many; negative: until further notice; 0: no more"`
}

type bytesParams struct {
	Bytes int `json:"bytes" doc:"how many may wait; 0: 50 MB"`
}

type rawParams struct {
	Socket int    `json:"socket" doc:"the number of a socket; 0: every one"`
	Text   string `json:"text" doc:"the message"`
	Binary bool   `json:"binary" doc:"whether it is a binary message"`
}

type subscriptionParams struct {
	Message string `json:"message" doc:"the text of the system message"`
	Times   int    `json:"times" doc:"how many; negative: until further notice; 0: no more"`
}

type publishParams struct {
	Table string `json:"table" doc:"the name of the table"`
	On    bool   `json:"on" doc:"whether it is in the publication"`
}

type hideParams struct {
	Table string  `json:"table" doc:"the name of the table"`
	Where jsonRow `json:"where" doc:"the values of columns of the rows to hide; empty: none"`
}

type hideCommitsParams struct {
	For   span `json:"for" doc:"how long after the commit"`
	Times int  `json:"times" doc:"how many; negative: until further notice; 0: no more"`
}

type rowsParams struct {
	Rows int `json:"rows" doc:"how many; 0: as configured"`
}

type restParams struct {
	Method string            `json:"method" doc:"of which requests; empty: all"`
	Path   string            `json:"path" doc:"of which requests, behind /rest/v1/; empty: all"`
	Times  int               `json:"times" doc:"how many requests; 0: all"`
	Before span              `json:"before" doc:"how long a request waits before it is carried out"`
	After  span              `json:"after" doc:"how long its answer waits"`
	Status int               `json:"status" doc:"the answer's status, in the place of the request; 0: it is carried out"`
	Header map[string]string `json:"header" doc:"the header of that answer"`
	Body   string            `json:"body" doc:"the body of that answer"`
	Stale  span              `json:"stale" doc:"how far back reads see the tables"`
	Cut    bool              `json:"cut" doc:"whether the connection is lost within the answer"`
}

const tokenExpiredNow = "Token has expired 0 seconds ago"

func closeSockets(s *Server, p closeParams) error {
	return target{socket: p.Socket}.eachSocket(s.realtime, func(c *conn) {
		c.post(0, func() { c.close(websocket.StatusCode(p.Code)) })
	})
}

func blockSockets(s *Server, p blockParams) error {
	return target{socket: p.Socket}.eachSocket(s.realtime, func(c *conn) { c.block(time.Duration(p.For)) })
}

func sendRaw(s *Server, p rawParams) error {
	return target{socket: p.Socket}.eachSocket(s.realtime, func(c *conn) { c.pushFrame([]byte(p.Text), p.Binary) })
}

func refuseUpgrades(s *Server, p refuseParams) error {
	if p.Times != 0 && (p.Status < 400 || p.Status > 599) {
		return errors.New("its parameters: status is not between 400 and 599")
	}
	s.RefuseUpgrades(p.Status, p.Text, p.Times)
	return nil
}

// setTableBudget sets how many changes of a table a fault meets.
func (s *Server) setTableBudget(b *tableBudget, p tableTimesParams) error {
	name := ""
	if p.Table != "" {
		var err error
		if name, err = s.db.FullName(p.Table); err != nil {
			return err
		}
	}
	s.realtime.faults.set(func() { *b = tableBudget{fault.Budget(p.Times), name} })
	return nil
}

func injectREST(s *Server, p restParams) error {
	if p.Status != 0 && (p.Status < 200 || p.Status > 599) {
		return errors.New("its parameters: status is not between 200 and 599")
	}
	s.addRESTFault(rest.Fault{
		Method: p.Method, Path: p.Path, Times: p.Times,
		Before: time.Duration(p.Before), After: time.Duration(p.After),
		Status: p.Status, Header: p.Header, Body: p.Body,
		Stale: time.Duration(p.Stale), Cut: p.Cut,
	})
	return nil
}

package fault

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
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
		For Span `json:"for" doc:"how long"`
	}
	byParams struct {
		By Span `json:"by" doc:"how much later; 0: as usual"`
	}
	tableParams struct {
		Table string `json:"table" doc:"the name of the table"`
	}
)

// kinds are the faults by name. Of those of one loss, the first goes by
// the loss's name, too.
var kinds = slices.Concat(socketFaults, joinFaults, lossFaults, changeFaults, dataFaults)

var socketFaults = []kind{
	newKind("kill-sockets", "ends sockets without a close frame", socketParams{}, func(s Project, p socketParams) error {
		return s.EachSocket(p.Socket, Socket.Kill)
	}).loses("L1").at(func(*rand.Rand) any { return socketParams{} }),
	newKind("close-sockets", "closes sockets with a code", closeParams{Code: 1011}, closeSockets).loses("L1").
		at(func(r *rand.Rand) any { return closeParams{Code: pick(r, 1000, 1001, 1011, 1012)} }),
	newKind("drain", `says "Server requested disconnect" on every channel and closes sockets with code 1012`, noParams{},
		plain(Project.Drain)).loses("L1").at(nothing),
	newKind("restart", "drains the server and has it away for a while, after which it remembers nothing", forParams{Span(5 * time.Second)},
		lasting(Project.Restart)).loses("L1").
		at(func(r *rand.Rand) any { return forParams{between(r, 0, 5*time.Second)} }),
	newKind("block-sockets", "holds sockets up: they neither read, answer nor send, and then go on in order", blockParams{For: Span(5 * time.Second)}, blockSockets).
		at(func(r *rand.Rand) any { return blockParams{For: between(r, time.Second, 20*time.Second)} }),
	newKind("mute-heartbeats", "leaves heartbeats unanswered", onParams{true}, always(func(s Project, p onParams) { s.MuteHeartbeats(p.On) })).
		undoneBy(onParams{}).at(func(*rand.Rand) any { return onParams{true} }),
	newKind("refuse-upgrades", "refuses sockets with a status", refuseParams{429, "Too many connected users", 1},
		refuseUpgrades).
		undoneBy(refuseParams{}).at(func(r *rand.Rand) any {
		return refuseParams{pick(r, 429, 500, 503), "Error connecting to Realtime", 1 + r.IntN(3)}
	}),
	newKind("limit-joins", "has the project over its limit of joins a second for a while: 429, refused joins, close 1001", forParams{Span(5 * time.Second)},
		lasting(Project.LimitJoins)).
		at(func(r *rand.Rand) any { return forParams{between(r, time.Second, 10*time.Second)} }),
	newKind("limit-backlog", "kills sockets for which more bytes wait", bytesParams{4096}, always(func(s Project, p bytesParams) { s.LimitBacklog(p.Bytes) })).
		loses("L10").undoneBy(bytesParams{}),
	newKind("send-raw", "sends a message of any text to sockets", rawParams{}, sendRaw),
}

var joinFaults = []kind{
	newKind("refuse-joins", "refuses joins for a reason, of the form \"Code: text\"", reasonParams{"ChannelRateLimitReached: Too many channels", 1},
		withReason(Project.RefuseJoins)).undoneBy(reasonParams{}).
		at(func(r *rand.Rand) any {
			return reasonParams{pick(r, "IncreaseConnectionPool: Please increase your connection pool size", "TimeoutOnRpcCall: Node request timeout"), 1 + r.IntN(2)}
		}),
	newKind("ignore-joins", "never answers joins", timesParams{1}, times(Project.IgnoreJoins)).
		undoneBy(timesParams{}).at(once),
	newKind("delay-joins", "makes joins take longer, and all else on the socket wait for them", byParams{Span(5 * time.Second)},
		by(Project.DelayJoins)).
		undoneBy(byParams{}).at(func(r *rand.Rand) any { return byParams{between(r, 0, 12*time.Second)} }),
	newKind("delay-refusals", "makes refused joins take longer, and all else on the socket wait for them", byParams{Span(5 * time.Second)},
		by(Project.DelayRefusals)).undoneBy(byParams{}),
	newKind("delay-subscribed", `makes "Subscribed to PostgreSQL" come later, and changes with it`, byParams{Span(5 * time.Second)},
		by(Project.DelaySubscribed)).loses("L1").
		undoneBy(byParams{}).at(func(r *rand.Rand) any { return byParams{between(r, 0, 9*time.Second)} }),
	newKind("omit-subscribed", `never says "Subscribed to PostgreSQL", though changes come`, timesParams{1},
		times(Project.OmitSubscribed)).undoneBy(timesParams{}).at(once),
	newKind("repeat-subscribed", `says "Subscribed to PostgreSQL" once more, and loses nothing`, noParams{},
		plain(Project.RepeatSubscribed)).at(nothing),
	newKind("fail-subscriptions", "fails subscriptions to changes with a message", subscriptionParams{`{:error, "Too many database timeouts"}`, 1},
		always(func(s Project, p subscriptionParams) { s.FailSubscriptions(p.Message, p.Times) })).undoneBy(subscriptionParams{}).
		at(func(r *rand.Rand) any {
			return subscriptionParams{`{:error, "Too many database timeouts"}`, 1 + r.IntN(2)}
		}),
	newKind("close-channels", "closes channels, with a system message that says why", messageParams{Message: "Too many messages per second"}, func(s Project, p messageParams) error {
		return s.EachChannel(p.Socket, p.Topic, func(ch Channel) { ch.Shutdown(p.Message) })
	}).loses("L1").at(func(*rand.Rand) any { return messageParams{Message: "Too many messages per second"} }),
	newKind("crash-channels", "ends channels with phx_error", channelParams{}, func(s Project, p channelParams) error {
		return s.EachChannel(p.Socket, p.Topic, Channel.Crash)
	}).loses("L1").at(func(*rand.Rand) any { return channelParams{} }),
}

var lossFaults = []kind{
	newKind("delay-slot", "makes the slot come later than \"Subscribed to PostgreSQL\" whenever the workers start", byParams{Span(2 * time.Second)},
		by(Project.DelaySlot)).loses("L2").silently().
		undoneBy(byParams{}).at(func(r *rand.Rand) any { return byParams{between(r, 0, 5*time.Second)} }),
	newKind("fail-polls", "makes polls that find something fail: what they found is lost, and the slot for a while", timesParams{1},
		times(Project.FailPolls)).loses("L3").silently().
		undoneBy(timesParams{}).at(once),
	newKind("time-out-polls", "makes polls that find something take over 15 s and fail: what they found is lost, and the slot with what was committed meanwhile", timesParams{1},
		times(Project.TimeOutPolls)).loses("L3").silently().undoneBy(timesParams{}),
	newKind("restart-database", "has the database away for a while: the slot is lost, and REST answers 503", forParams{Span(3 * time.Second)},
		lasting(Project.RestartDatabase)).loses("L4").silently().
		undoneBy(forParams{}).at(func(r *rand.Rand) any { return forParams{between(r, 0, 8*time.Second)} }),
	newKind("terminate-connections", "terminates the server's database connections: private joins and subscriptions that meet one are refused for good, and the slot is lost", timesParams{1},
		times(Project.TerminateConnections)).loses("L4").silently().undoneBy(timesParams{}),
	newKind("exhaust-connections", "takes all connections of the database for a while: the slot is lost, and REST answers 503", forParams{Span(3 * time.Second)},
		lasting(Project.ExhaustConnections)).loses("L4").silently().undoneBy(forParams{}),
	newKind("lose-slot", "drops the slot and makes another one after a while", forParams{}, lasting(Project.LoseSlot)).
		loses("L4").silently().at(func(r *rand.Rand) any { return forParams{between(r, 0, 3*time.Second)} }),
	newKind("stop-workers", "stops the workers: nobody hears of any change until somebody subscribes", noParams{},
		plain(Project.StopWorkers)).loses("L5").silently().at(nothing),
	newKind("restart-workers", "starts the workers anew and deletes all subscriptions: channels are deaf until they join again", noParams{},
		plain(Project.RestartWorkers)).loses("L6").silently().at(nothing),
	newKind("exceed-rate", "discards changes for a while, and 5 s at least, as over the limit of events", forParams{Span(5 * time.Second)},
		lasting(Project.ExceedRate)).loses("L7").silently().
		at(func(r *rand.Rand) any { return forParams{between(r, 5*time.Second, 15*time.Second)} }),
	newKind("resubscribe", `deletes all subscriptions and makes them anew after 1 to 3 s, with another "Subscribed to PostgreSQL"`, noParams{},
		plain(Project.Resubscribe)).loses("L8").at(nothing),
	newKind("publish", "adds a table to the publication or removes it, which the server notices within a minute", publishParams{},
		func(s Project, p publishParams) error { return s.Publish(p.Table, p.On) }).loses("L8"),
	newKind("hide-rows", "hides rows from the roles that row level security applies to", hideParams{},
		func(s Project, p hideParams) error { return s.HideRows(p.Table, rawjson.Values(p.Where)) }).loses("L9").silently(),
	newKind("truncate-table", "removes all rows of a table at once", tableParams{},
		func(s Project, p tableParams) error { return s.Truncate(p.Table) }).loses("L9").silently(),
	newKind("expire-tokens", "closes channels as if their tokens had expired", channelParams{}, func(s Project, p channelParams) error {
		return s.EachChannel(p.Socket, p.Topic, func(ch Channel) { ch.Shutdown(TokenExpiredNow) })
	}).loses("L11").at(func(*rand.Rand) any { return channelParams{} }),
	newKind("refuse-tokens", "closes channels that send another token", reasonParams{"The token provided is not a valid JWT", 1},
		withReason(Project.RefuseTokens)).loses("L11").
		undoneBy(reasonParams{}).at(func(*rand.Rand) any { return reasonParams{NoDatabase, 1} }),
	newKind("truncate-changes", "makes changes come as those over 1 MB do: Error 413, without NULLs and long values", tableTimesParams{Times: 1}, ofTable(func(f *InForce) *OfTable { return &f.Truncated })).loses("L12").undoneBy(tableTimesParams{}).at(few),
}

var changeFaults = []kind{
	newKind("drop-changes", "loses row changes", tableTimesParams{Times: 1}, ofTable(func(f *InForce) *OfTable { return &f.Dropped })).silently().undoneBy(tableTimesParams{}).at(few),
	newKind("duplicate-changes", "delivers row changes twice", tableTimesParams{Times: 1}, ofTable(func(f *InForce) *OfTable { return &f.Doubled })).silently().undoneBy(tableTimesParams{}).at(few),
	newKind("reorder-changes", "delivers row changes in another order", timesParams{2}, times(Project.ReorderChanges)).
		silently().undoneBy(timesParams{}).at(func(r *rand.Rand) any { return timesParams{2 + r.IntN(3)} }),
	newKind("delay-changes", "delivers row changes later, in their order", byParams{Span(2 * time.Second)},
		by(Project.DelayChanges)).silently().
		undoneBy(byParams{}).at(func(r *rand.Rand) any { return byParams{between(r, 0, 3*time.Second)} }),
}

var dataFaults = []kind{
	newKind("hide-commits", "makes commits visible to others later than Realtime delivers them", hideCommitsParams{Span(time.Second), 1},
		always(func(s Project, p hideCommitsParams) { s.HideCommits(time.Duration(p.For), p.Times) })).silently().
		undoneBy(hideCommitsParams{}).at(func(r *rand.Rand) any { return hideCommitsParams{between(r, 0, time.Second), 1 + r.IntN(5)} }),
	newKind("rest", "makes requests to the REST API slow, stale, cut, or answered with a status; to be ended by healing", restParams{}, injectREST).
		at(randomRESTFault),
	newKind("limit-rows", "makes answers of the REST API hold no more rows", rowsParams{1000}, always(func(s Project, p rowsParams) { s.LimitRows(p.Rows) })).
		silently().undoneBy(rowsParams{}).at(func(r *rand.Rand) any { return rowsParams{1 + r.IntN(5)} }),
}

type closeParams struct {
	Socket int `json:"socket" doc:"the number of a socket; 0: every one"`
	Code   int `json:"code" doc:"the code of the close frame"`
}

type blockParams struct {
	Socket int  `json:"socket" doc:"the number of a socket; 0: every one"`
	For    Span `json:"for" doc:"how long"`
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
	Table string                     `json:"table" doc:"the name of the table"`
	Where map[string]json.RawMessage `json:"where" doc:"the values of columns of the rows to hide; empty: none"`
}

type hideCommitsParams struct {
	For   Span `json:"for" doc:"how long after the commit"`
	Times int  `json:"times" doc:"how many; negative: until further notice; 0: no more"`
}

type rowsParams struct {
	Rows int `json:"rows" doc:"how many; 0: as configured"`
}

type restParams struct {
	Method string            `json:"method" doc:"of which requests; empty: all"`
	Path   string            `json:"path" doc:"of which requests, behind /rest/v1/; empty: all"`
	Times  int               `json:"times" doc:"how many requests; 0: all"`
	Before Span              `json:"before" doc:"how long a request waits before it is carried out"`
	After  Span              `json:"after" doc:"how long its answer waits"`
	Status int               `json:"status" doc:"the answer's status, in the place of the request; 0: it is carried out"`
	Header map[string]string `json:"header" doc:"the header of that answer"`
	Body   string            `json:"body" doc:"the body of that answer"`
	Stale  Span              `json:"stale" doc:"how far back reads see the tables"`
	Cut    bool              `json:"cut" doc:"whether the connection is lost within the answer"`
}

// TokenExpiredNow is what the server says when a token expires.
const TokenExpiredNow = "Token has expired 0 seconds ago"

func closeSockets(s Project, p closeParams) error {
	return s.EachSocket(p.Socket, func(c Socket) { c.CloseWith(p.Code) })
}

func blockSockets(s Project, p blockParams) error {
	return s.EachSocket(p.Socket, func(c Socket) { c.Block(time.Duration(p.For)) })
}

func sendRaw(s Project, p rawParams) error {
	return s.EachSocket(p.Socket, func(c Socket) { c.SendRaw(p.Binary, []byte(p.Text)) })
}

func refuseUpgrades(s Project, p refuseParams) error {
	if p.Times != 0 && (p.Status < 400 || p.Status > 599) {
		return errors.New("its parameters: status is not between 400 and 599")
	}
	s.RefuseUpgrades(p.Status, p.Text, p.Times)
	return nil
}

// ofTable makes an injection of what meets changes of a table.
func ofTable(of func(f *InForce) *OfTable) func(Project, tableTimesParams) error {
	return func(s Project, p tableTimesParams) (err error) {
		name := ""
		if p.Table != "" {
			if name, err = s.FullName(p.Table); err != nil {
				return err
			}
		}
		s.State().Set(func(f *InForce) { *of(f) = OfTable{Budget(p.Times), name} })
		return nil
	}
}

func injectREST(s Project, p restParams) error {
	if p.Status != 0 && (p.Status < 200 || p.Status > 599) {
		return errors.New("its parameters: status is not between 200 and 599")
	}
	s.AddRESTFault(REST{
		Method: p.Method, Path: p.Path, Times: p.Times,
		Before: time.Duration(p.Before), After: time.Duration(p.After),
		Status: p.Status, Header: p.Header, Body: p.Body,
		Stale: time.Duration(p.Stale), Cut: p.Cut,
	})
	return nil
}

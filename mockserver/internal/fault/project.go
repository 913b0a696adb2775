package fault

import "time"

// Project is what faults are done to. Its methods are those of mockserver.Server,
// which say what they do, and the last ones.
type Project interface {
	Drain()
	Restart(d time.Duration)
	MuteHeartbeats(on bool)
	RefuseUpgrades(status int, text string, n int)
	LimitJoins(d time.Duration)
	LimitBacklog(bytes int)

	RefuseJoins(reason string, n int)
	IgnoreJoins(n int)
	DelayJoins(d time.Duration)
	DelayRefusals(d time.Duration)
	DelaySubscribed(d time.Duration)
	OmitSubscribed(n int)
	RepeatSubscribed()
	FailSubscriptions(message string, n int)

	DelaySlot(d time.Duration)
	FailPolls(n int)
	TimeOutPolls(n int)
	RestartDatabase(d time.Duration)
	TerminateConnections(n int)
	ExhaustConnections(d time.Duration)
	LoseSlot(d time.Duration)
	StopWorkers()
	RestartWorkers()
	ExceedRate(d time.Duration)
	Resubscribe()
	Publish(table string, on bool) error
	Truncate(table string) error
	RefuseTokens(message string, n int)

	ReorderChanges(n int)
	DelayChanges(d time.Duration)
	HideCommits(d time.Duration, n int)
	LimitRows(n int)

	HideRows(table string, where map[string]any) error
	// EachSocket runs do for the socket of that number; 0: for all.
	EachSocket(number int, do func(Socket)) error
	// EachChannel runs do for the channels of a topic on those sockets; empty: for
	// all.
	EachChannel(socket int, topic string, do func(Channel)) error
	// AddRESTFault has requests go wrong that meet no other fault.
	AddRESTFault(wanted REST)
	// FullName returns the name of a table with its schema.
	FullName(table string) (string, error)
	// State is what the methods set.
	State() *State
}

// Socket is an open socket.
type Socket interface {
	Kill()                             // without a close frame
	CloseWith(code int)                // behind what waits
	Block(d time.Duration)             // behind what waits
	SendRaw(binary bool, frame []byte) // behind what waits
}

// Channel is a topic that a socket has joined.
type Channel interface {
	Shutdown(message string) // closes it, and says why before that
	Crash()                  // ends it with phx_error
}

package channel

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var inputNames = [inputs]string{"start", "up", "down", "sent", "accepted", "refused", "unconfirmed", "subscribed", "subscribe failed",
	"subscribe refused", "undecodable", "broadcast undecodable", "roster undecodable", "replayed", "roster", "ended", "broken", "retry", "leave", "left", "fail"}

// String describes a machine: state, join and streams; a stream that is whole
// has a capital, one that is not and has been whole a small letter.
func (m machine) String() string {
	text := m.state.String() + [...]string{"", ", join sent", ", join accepted"}[m.join] + " "
	for i, letter := range "CBP" {
		kind := streams(1) << i
		switch {
		case m.whole&kind != 0:
			text += string(letter)
		case m.begun&kind != 0:
			text += string(letter + 'a' - 'A')
		default:
			text += "-"
		}
	}
	return text
}

func (e effects) String() (text string) {
	for _, kinds := range []struct {
		name string
		set  streams
	}{{"lost", e.lost}, {"restored", e.restored}, {"passing", e.passing}} {
		if kinds.set != 0 {
			text += "; " + kinds.name + " " + strings.TrimLeft(machine{whole: kinds.set}.String(), "idle -")
		}
	}
	if e.joinOver {
		text += "; join over"
	}
	if e.request {
		text += "; request"
	}
	return text + [...]string{"", "; no timer", "; confirm timer", "; retry timer (server)", "; retry timer", "; leave timer"}[e.wait]
}

// explore calls visit for every pair of an input and a machine that can come
// about, of channels with and without bindings and replays.
func explore(visit func(m machine, in input, next machine, e effects)) (pairs int) {
	seen := map[machine]bool{}
	var todo []machine
	for i := range 4 {
		todo = append(todo, machine{binds: i&1 != 0, replays: i&2 != 0})
	}
	for len(todo) > 0 {
		m := todo[0]
		if todo = todo[1:]; seen[m] {
			continue
		}
		seen[m] = true
		for in := range input(inputs) {
			next, e := m.next(in)
			visit(m, in, next, e)
			todo = append(todo, next)
			pairs++
		}
	}
	return pairs
}

// Every pair of state and input, so that a new move is a decision and not an
// accident: testdata/moves.txt lists, for a channel with bindings and a replay
// whose streams have begun,
// all that change something. UPDATE=1 writes it anew, to be read.
func TestMachine_EveryMove(t *testing.T) {
	var moves []string
	explore(func(m machine, in input, next machine, e effects) {
		if m.binds && m.replays && (m.begun == changes|broadcasts|presences || m.state == Idle) && (m != next || e != effects{}) {
			moves = append(moves, fmt.Sprintf("%v | %s -> %v%v", m, inputNames[in], next, e))
		}
	})
	slices.Sort(moves)
	got := strings.Join(moves, "\n") + "\n"
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile("testdata/moves.txt", []byte(got), 0o666))
	}
	want, err := os.ReadFile("testdata/moves.txt")
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// What holds of every pair, whatever the channel.
func TestMachine_Invariants(t *testing.T) {
	pairs := explore(func(m machine, in input, next machine, e effects) {
		say := fmt.Sprintf("%v | %s -> %v%v", m, inputNames[in], next, e)
		over := next.state == Leaving || next.state == Closed
		require.Equal(t, next.whole, next.whole&next.begun, say)
		require.False(t, next.whole != 0 && (next.join != joinAccepted || over), "only a joined channel has whole streams: %s", say)
		require.Equal(t, next.state == Live, next.whole&changes != 0, "live is that changes come: %s", say)
		require.Equal(t, e.restored, next.whole&^m.whole, say)
		if !over {
			require.Equal(t, e.lost, m.whole&^next.whole, "what is not whole any more is told: %s", say)
		}
		require.Zero(t, e.passing&(e.lost|e.restored), say)
		require.Equal(t, e.joinOver, m.join != joinNone && next.join == joinNone, say)
		if m.state == Closed {
			require.Equal(t, m, next, say)
		}
		// Something that ends it follows every state that is not wanted.
		switch {
		case m.state == next.state && m.join == next.join:
		case next.state == Joining && next.join == joinNone:
			require.True(t, e.request || in == inDown, "the socket's return, or a turn, is waited for: %s", say)
		case next.state == Degraded && in != inDown, next.state == Leaving, next.state == Joined:
			require.Greater(t, e.wait, waitNothing, say)
		case next.state == Live, next.state == Closed:
			require.Equal(t, waitNothing, e.wait, say)
		}
	})
	t.Log(pairs, "pairs")
	require.Greater(t, pairs, 500)
}

func TestStatesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for s := range State(states) {
		require.NotContains(t, s.String(), "State(")
		seen[s.String()] = true
	}
	require.Len(t, seen, int(states))
	require.Equal(t, "State(99)", State(99).String())
}

// Section 2.4: every reason that the server has for refusing a join.
func TestC21C24RefusalsAreJudgedByTheirCode(t *testing.T) {
	for reason, want := range map[string]struct {
		code string
		v    verdict
	}{
		"RealtimeRestarting: Realtime is restarting, please standby":                                 {"RealtimeRestarting", tryAgain},
		"TenantNotFound: Tenant with the given ID does not exist":                                    {"TenantNotFound", giveUp},
		"RealtimeDisabledForTenant: Realtime disabled for this tenant":                               {"RealtimeDisabledForTenant", giveUp},
		"PrivateOnly: This project only allows private channels":                                     {"PrivateOnly", giveUp},
		"ConnectionRateLimitReached: Too many connected users":                                       {"ConnectionRateLimitReached", tryAgain},
		"ClientJoinRateLimitReached: Too many joins per second":                                      {"ClientJoinRateLimitReached", tryAgain},
		"ChannelRateLimitReached: Too many channels":                                                 {"ChannelRateLimitReached", giveUp},
		"InvalidJWTToken: Token has expired 5 seconds ago":                                           {"InvalidJWTToken", replaceToken},
		"InvalidJWTToken: Fields `role` and `exp` are required in JWT":                               {"InvalidJWTToken", replaceToken},
		"MalformedJWT: The token provided is not a valid JWT":                                        {"MalformedJWT", replaceToken},
		"JwtSignatureError: Failed to validate JWT signature":                                        {"JwtSignatureError", replaceToken},
		"JwtSignerError: Failed to generate JWT signer, check your JWT secret or JWKS configuration": {"JwtSignerError", giveUp},
		"Unauthorized: You do not have permissions to read from this Channel topic: room:a":          {"Unauthorized", giveUp},
		"DatabaseLackOfConnections: Database can't accept more connections, Realtime won't connect":  {"DatabaseLackOfConnections", tryAgain},
		"Realtime was unable to connect to the project database":                                     {"", tryAgain},
		"InitializingProjectConnection: Realtime is initializing the project connection":             {"InitializingProjectConnection", tryAgain},
		"QueryCanceled: canceling statement due to user request":                                     {"QueryCanceled", tryAgain},
		"TimeoutOnRpcCall: Node request timeout":                                                     {"TimeoutOnRpcCall", tryAgain},
		"TopicNameRequired: You must provide a topic name":                                           {"TopicNameRequired", giveUp},
		"Unknown Error on Channel":                                                                   {"", tryAgain},
		"UnknownErrorOnChannel: something happened":                                                  {"UnknownErrorOnChannel", tryAgain},
		"SomethingNew: that this client has never heard of":                                          {"SomethingNew", tryAgain},
		"some text with a colon: in it":                                                              {"", tryAgain},
		"":                                                                                           {"", tryAgain},
	} {
		code, v := judgeJoin(reason)
		require.Equal(t, want.code, code, reason)
		require.Equal(t, want.v, v, reason)
	}
}

// Section 3 and scenario 10: the texts before a phx_close.
func TestC25SystemErrorsAreJudgedByTheirText(t *testing.T) {
	for message, want := range map[string]verdict{
		"Token has expired 195410198 seconds ago":                                    replaceToken,
		"Fields `role` and `exp` are required in JWT":                                replaceToken,
		"The token provided is not a valid JWT":                                      replaceToken,
		":signature_error":                                                           replaceToken,
		"You do not have permissions to read from this Channel topic: room:t":        giveUp,
		"You no longer have permission to read from this Channel topic: room:t":      giveUp,
		"Too many messages per second":                                               tryAgain,
		"Client presence rate limit exceeded":                                        tryAgain,
		"Realtime was unable to connect to the project database":                     tryAgain,
		"Failed to generate JWT signer, check your JWT secret or JWKS configuration": giveUp,
		"Replication connection was not established in time":                         tryAgain,
		"anything else": tryAgain,
	} {
		require.Equal(t, want, judgeSystem(message), message)
	}
}

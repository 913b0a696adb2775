package channel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every pair of state and input, so that a new move is a decision and not an
// accident. What is not listed leaves the state as it is.
func TestEveryMove(t *testing.T) {
	moves := map[State]map[input]State{
		Idle:     {start: Joining, leave: Leaving, fail: Closed},
		Joining:  {accepted: Joined, refused: Degraded, unanswered: Degraded, ended: Degraded, leave: Leaving, fail: Closed},
		Joined:   {subscribed: Live, subscribeFailed: Degraded, unanswered: Degraded, ended: Degraded, down: Degraded, leave: Leaving, fail: Closed},
		Live:     {subscribeFailed: Degraded, unanswered: Degraded, ended: Degraded, down: Degraded, leave: Leaving, fail: Closed},
		Degraded: {up: Joining, retry: Joining, subscribed: Live, leave: Leaving, fail: Closed},
		Leaving:  {fail: Closed},
		Closed:   {},
	}
	require.Len(t, moves, int(states))
	for s := range State(states) {
		for in := range input(inputs) {
			want, listed := moves[s][in]
			if !listed {
				want = s
			}
			require.Equal(t, want, s.next(in), "%v on input %d", s, in)
		}
	}
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

package channel

import (
	"errors"
	"regexp"
	"strings"
)

// Reasons of a degraded channel that no server text explains.
var (
	errUnprompted = errors.New("channel: closed by the server without a reason")
	errCrashed    = errors.New("channel: crashed on the server")
	errNotLive    = errors.New("channel: joined, but the server did not confirm the subscription in time")
	errUnanswered = errors.New("channel: the server did not answer the join in time")
)

// verdict is what to do about a refusal.
type verdict uint8

const (
	tryAgain     verdict = iota // with backoff
	serverTries                 // the server tries again by itself
	replaceToken                // with another token, if there is one
	giveUp                      // the caller must act, if it persists or has never worked
)

// verdicts lists the codes of refused joins that are not simply tried again.
// The server has no other machine-readable form than the text before ": ";
// codes that it may learn are tried again.
var verdicts = map[string]verdict{
	"TenantNotFound":                   giveUp, // wrong URL
	"RealtimeDisabledForTenant":        giveUp,
	"RealtimeDisabledForConfiguration": giveUp, // what a newer server says of bindings that match nothing
	"PrivateOnly":                      giveUp, // until the project's settings change
	"ChannelRateLimitReached":          giveUp, // too many channels on this socket: leave one; trying would stall the others 5 s each time
	"TopicNameRequired":                giveUp,
	"JwtSignerError":                   giveUp, // an algorithm or key id that the project does not have
	"Unauthorized":                     giveUp, // no policy lets this role read the topic; or the database connection was terminated
	"InvalidJWTToken":                  replaceToken,
	"MalformedJWT":                     replaceToken,
	"JwtSignatureError":                replaceToken,
}

// systemVerdicts does the same for the text of the system errors that precede
// a phx_close. They carry no code; these are their beginnings.
var systemVerdicts = []struct {
	prefix  string
	verdict verdict
}{
	{"Token has expired", replaceToken},
	{"Fields `role` and `exp` are required", replaceToken},
	{"The token provided is not a valid JWT", replaceToken},
	{"Failed to validate JWT signature", replaceToken},
	{":signature_error", replaceToken}, // what a token with a bad signature gets on a joined channel
	{"Failed to generate JWT signer", giveUp},
	{"You do not have permissions to read", giveUp},
	{"You no longer have permission to read", giveUp},
}

// judgeJoin decides about the reason of a refused join.
func judgeJoin(reason string) (code string, v verdict) {
	code, _, found := strings.Cut(reason, ": ")
	if !found || strings.ContainsAny(code, " `") {
		return "", tryAgain
	}
	return code, verdicts[code]
}

// judgeSystem decides about a system error.
func judgeSystem(message string) verdict {
	for _, s := range systemVerdicts {
		if strings.HasPrefix(message, s.prefix) {
			return s.verdict
		}
	}
	return tryAgain
}

// parameterErrors begin the messages after which the server does not try again
// to subscribe these bindings. Others it tries again every 5 to 10 s.
var parameterErrors = []string{
	"Unable to subscribe to changes with given parameters",
	"Error parsing `filter` params",
	"Error parsing `select` params",
	"Column selection is not supported",
	"No subscription params provided",
}

// passing is the exception in such a message if it is not about the parameters:
// a connection that was lost or terminated (57P01 of a database that restarts),
// too many of them, a timeout, a deadlock, trouble inside the database.
var passing = regexp.MustCompile(`^Exception: (FATAL|PANIC|ERROR (08|25|40|53|55|57|58|XX)|.*\b(connection|closed|time(out|d out))\b)`)

// judgeSubscribe decides about an error of the subscription.
func judgeSubscribe(message string) verdict {
	for _, prefix := range parameterErrors {
		if strings.HasPrefix(message, prefix) {
			if i := strings.LastIndex(message, "Exception: "); i >= 0 && passing.MatchString(message[i:]) {
				return tryAgain
			}
			return giveUp
		}
	}
	return serverTries
}

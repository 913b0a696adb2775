package memdb

import "github.com/gapless-go/gapless/mockserver/internal/project"

// ChannelPolicy says whether somebody may use a private channel for
// everything. It stands for the policies on realtime.messages where these are
// not told apart: see MessagePolicies. The topic is without its prefix
// "realtime:". It is called without any lock held and from several goroutines
// at once. A role that does not exist in the database is refused before it is
// asked.
type ChannelPolicy func(topic string, claims project.Claims) bool

// MessagePolicy is a policy on realtime.messages: whether the claims allow
// something with the topic, which is without its prefix "realtime:". The
// extension is ExtensionBroadcast or ExtensionPresence. It is called without
// any lock held and from several goroutines at once, and not for the role
// service_role, which no policy holds up, nor for one that does not exist.
type MessagePolicy func(topic, extension string, claims project.Claims) bool

// MessagePolicies are the policies on realtime.messages, which say who may do
// what in private channels. Where one is nil, Config.Channels decides.
type MessagePolicies struct {
	// Read (SELECT) is asked at the join of a private channel, which fails if
	// neither broadcasts may be read nor, where presence is enabled, presence;
	// and again for a new access_token. Without the right to read broadcasts a
	// channel that may be joined gets none.
	Read MessagePolicy
	// Write (INSERT) is asked at the first broadcast and the first track of a
	// join or an access_token, and at every broadcast over HTTP.
	Write MessagePolicy
}

package mockserver

import (
	"slices"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// schemaChannel is a policy on private channels.
type schemaChannel struct {
	Topic      string   `json:"topic"`      // * at the end stands for anything, {sub} for a claim
	Roles      []string `json:"roles"`      // none: authenticated
	Extensions []string `json:"extensions"` // of broadcast and presence; none: both
	ReadOnly   bool     `json:"read_only"`
}

// channelPolicies returns what a schema file allows; without the member the
// policies are the default ones.
func channelPolicies(channels []schemaChannel) memdb.MessagePolicies {
	if channels == nil {
		return memdb.MessagePolicies{}
	}
	policy := func(write bool) memdb.MessagePolicy {
		return func(topic, extension string, claims Claims) bool {
			return slices.ContainsFunc(channels, func(c schemaChannel) bool {
				return !(write && c.ReadOnly) && c.isFor(extension, claims) && topicMatches(c.Topic, topic, claims)
			})
		}
	}
	return memdb.MessagePolicies{Read: policy(false), Write: policy(true)}
}

func (c schemaChannel) isFor(extension string, claims Claims) bool {
	if len(c.Extensions) > 0 && !slices.Contains(c.Extensions, extension) {
		return false
	}
	if len(c.Roles) == 0 {
		return project.RoleOf(claims) == "authenticated"
	}
	return slices.Contains(c.Roles, project.RoleOf(claims))
}

// topicMatches reports whether a topic is one that the pattern stands for.
func topicMatches(pattern, topic string, claims Claims) bool {
	for {
		before, rest, found := strings.Cut(pattern, "{")
		claim, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			break
		}
		value, ok := claimText(claims, claim)
		if topic, found = strings.CutPrefix(topic, before+value); !ok || value == "" || !found {
			return false
		}
		pattern = after
	}
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return strings.HasPrefix(topic, prefix)
	}
	return topic == pattern
}

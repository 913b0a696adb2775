package mockserver

import (
	"slices"
	"strings"
)

// schemaChannel lets somebody use private channels.
type schemaChannel struct {
	Topic string   `json:"topic"` // * at the end stands for anything, {sub} for a claim
	Roles []string `json:"roles"` // none: authenticated and service_role
}

// channelPolicy returns the policy that a schema file states; without any it
// is nil, which is the default one.
func channelPolicy(channels []schemaChannel) ChannelPolicy {
	if channels == nil {
		return nil
	}
	return func(topic string, claims Claims) bool {
		return slices.ContainsFunc(channels, func(c schemaChannel) bool {
			return c.lets(claims) && topicMatches(c.Topic, topic, claims)
		})
	}
}

func (c schemaChannel) lets(claims Claims) bool {
	if len(c.Roles) == 0 {
		return defaultPolicy("", claims)
	}
	return slices.Contains(c.Roles, roleOf(claims))
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

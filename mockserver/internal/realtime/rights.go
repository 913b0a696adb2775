package realtime

import (
	"context"
	"errors"

	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// Extensions of realtime.messages, as its policies see them.
const (
	ExtensionBroadcast = "broadcast"
	ExtensionPresence  = "presence"
)

// mayWrite reports whether somebody may write to a private channel. Where that
// cannot be found out, it is not so.
func (rt *Server) mayWrite(name, extension string, claims project.Claims) bool {
	may, err := rt.permits(project.Access{Topic: name, Extension: extension, Write: true}, claims)
	return may && err == nil
}

// permits asks the policies on realtime.messages. One that fails permits nothing.
func (rt *Server) permits(a project.Access, claims project.Claims) (bool, error) {
	ctx, cancel := context.WithTimeout(rt.ctx, databasePatience)
	defer cancel()
	may, err := rt.db.Permits(ctx, callerOf(claims), a)
	if err != nil {
		rt.log.Warn("the policies on realtime.messages cannot be asked", "topic", a.Topic, "error", err)
	}
	return may && err == nil, err
}

// rights are what the claims of a channel allow. What may be read has been
// asked; what may be written is asked when it matters, once.
type rights struct {
	broadcasts, presence bool // may be read
	write                map[string]bool
	unknown              bool // the database could not be asked
}

// readRights asks what may be read in a channel.
func (rt *Server) readRights(name string, config joinConfig, claims project.Claims) rights {
	if !config.private {
		return rights{broadcasts: true, presence: true}
	}
	r := rights{write: map[string]bool{}}
	var failed [2]error
	r.broadcasts, failed[0] = rt.permits(project.Access{Topic: name, Extension: ExtensionBroadcast}, claims)
	if config.presence {
		r.presence, failed[1] = rt.permits(project.Access{Topic: name, Extension: ExtensionPresence}, claims)
	}
	r.unknown = errors.Is(errors.Join(failed[:]...), project.ErrUnavailable)
	return r
}

func (r rights) none() bool { return !r.broadcasts && !r.presence }

// lost reports whether something could be read with the rights before that
// cannot with r.
func (r rights) lost(before rights) bool {
	return before.broadcasts && !r.broadcasts || before.presence && !r.presence
}

// mayWrite reports whether the channel may write.
func (ch *channel) mayWrite(extension string) bool {
	if !ch.config.private {
		return true
	}
	may, asked := ch.rights.write[extension]
	if !asked {
		may = ch.conn.rt.mayWrite(ch.name, extension, ch.who.claims)
		ch.rights.write[extension] = may
	}
	return may
}

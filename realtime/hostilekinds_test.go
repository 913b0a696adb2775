package realtime_test

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/gapless-go/gapless/internal/phoenix"
)

// raw is a frame as a server may send it.
type raw struct {
	binary    bool
	text      []byte
	fragments int // into so many; 0: one
}

// hostileKinds are what a hostile server sends on a channel, by what is wrong
// with it. They grow with n. Ref is that of the channel's join.
func hostileKinds(topic, ref string, n int) map[string][]raw {
	number := func(i int) string { return fmt.Sprint(i) }
	meta := func(i int) string { return fmt.Sprintf(`{"phx_ref":"r%d"}`, i) }
	key := func(i int) string { return fmt.Sprintf(`"k%d":{"metas":[{"phx_ref":"r%d"}]}`, i, i) }
	one := func(event, payload string) []raw {
		return []raw{{text: fmt.Appendf(nil, `[%q,null,%q,%q,%s]`, ref, topic, event, payload)}}
	}
	change := func(ids, record string) []raw {
		return one(phoenix.EventPostgresChanges, `{"ids":[`+ids+`],"data":{"schema":"public","table":"orders","type":"INSERT",`+
			`"commit_timestamp":"2026-01-01T00:00:00Z","errors":null,"columns":[{"name":"id","type":"int8"}],"record":`+record+`}}`)
	}
	broadcast := func(payload string) []raw {
		return one(phoenix.EventBroadcast, `{"type":"broadcast","event":"e","payload":`+payload+`}`)
	}
	system := func(status, message string) []raw {
		return one(phoenix.EventSystem, fmt.Sprintf(`{"extension":"postgres_changes","status":%q,"message":%q}`, status, message))
	}
	reply := func(join, ref string) []raw {
		return []raw{{text: fmt.Appendf(nil, `[%s,%s,%q,"phx_reply",{"status":"error","response":{"reason":"x"}}]`, join, ref, topic)}}
	}
	nested := strings.Repeat(`[`, n) + strings.Repeat(`]`, n)
	objects := strings.Repeat(`{"a":`, n) + "1" + strings.Repeat(`}`, n)
	digits := strings.Repeat("9", n)
	long := strings.Repeat("x", n)
	var binary []raw
	for kind := range 256 {
		for _, rest := range []string{"", "\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", "\x0c\x01\x00\x01realtime:rooma\x00{}" + long[:n/100], "\x01\x0d\x02" + ref + "realtime:roomok{}"} {
			binary = append(binary, raw{binary: true, text: append([]byte{byte(kind)}, rest...)})
		}
	}
	return map[string][]raw{
		"ids":                  change(listed(n, number), `{"id":1}`),
		"one id":               change(listed(n, func(int) string { return "100" }), `{"id":1}`),
		"huge ids":             change("1e999999999,-1,1.5,"+digits, `{"id":1}`),
		"huge numbers":         join(change("100", `{"id":1e999999999}`), change("100", `{"id":`+digits+`}`), broadcast(`1e999999999`)),
		"metas":                one(phoenix.EventPresenceState, `{"k":{"metas":[`+listed(n, meta)+`]}}`),
		"keys":                 one(phoenix.EventPresenceState, `{`+listed(n/4+1, key)+`}`),
		"joins":                one(phoenix.EventPresenceDiff, `{"joins":{`+listed(n/4+1, key)+`},"leaves":{}}`),
		"leaves":               one(phoenix.EventPresenceDiff, `{"joins":{},"leaves":{`+listed(n/4+1, key)+`}}`),
		"metas of nonsense":    one(phoenix.EventPresenceState, `{"k":{"metas":[`+listed(n, func(int) string { return `1` })+`]}}`),
		"nested payloads":      join(broadcast(nested), broadcast(objects), one(phoenix.EventPostgresChanges, nested), one("new", nested)),
		"nested rows":          join(change("100", `{"id":`+nested+`}`), change("100", objects)),
		"nested presence":      join(one(phoenix.EventPresenceState, `{"k":{"metas":[{"phx_ref":"a","b":`+nested+`}]}}`), one(phoenix.EventPresenceState, objects)),
		"nested frames":        {{text: []byte(strings.Repeat(`[`, n))}, {text: []byte(nested)}},
		"confirmations":        repeated(n/20+1, system("ok", "Subscribed to PostgreSQL")),
		"failures":             repeated(n/20+1, system("error", "Too many database timeouts"), system("ok", "Subscribed to PostgreSQL")),
		"other system":         repeated(n/40+1, one(phoenix.EventSystem, `{"extension":"new","status":"ok","message":[]}`), one(phoenix.EventSystem, `{"extension":"new","status":"`+"\u2028\x7f"+`","message":"x"}`)),
		"a long failure":       join(system("error", long), system("ok", "Subscribed to PostgreSQL")),
		"replies to nothing":   repeated(n/20+1, reply(`"`+ref+`"`, `"999999"`), reply("null", "null")),
		"the join's, again":    repeated(2, reply(`"`+ref+`"`, `"`+ref+`"`)),
		"a long ref":           reply(`"`+long+`"`, `"`+long+`"`),
		"refs that are none":   join(reply("1e999", "{}"), reply(nested, nested)),
		"ends of other joins":  {{text: fmt.Appendf(nil, `["999999","999999",%q,"phx_error",{}]`, topic)}, {text: fmt.Appendf(nil, `[null,null,%q,"phx_close",{}]`, topic)}},
		"a long topic":         {{text: fmt.Appendf(nil, `[null,null,"realtime:%s","postgres_changes",{]`, long)}, {text: fmt.Appendf(nil, `[null,null,%q,%q,{}]`, topic, long)}},
		"frames of nothing":    {{}, {binary: true}, {text: []byte(`[]`)}, {text: []byte(`{}`)}, {text: []byte(`null`)}, {text: []byte("\xff\xfe")}, {text: bytes.Repeat([]byte{0}, n)}},
		"unreadable changes":   repeated(n/20+1, change("100", `{`)),
		"changes":              repeated(n/20+1, change("100", `{"id":1}`)),
		"changes and failures": repeated(n/40+1, change("100", `{"id":1}`), change("100", `{`), system("ok", "Subscribed to PostgreSQL")),
		"binary":               binary,
		"fragments":            {{text: broadcast(`"` + long + `"`)[0].text, fragments: n/20 + 1}},
	}
}

func listed(n int, f func(int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f(i))
	}
	return b.String()
}

func join(frames ...[]raw) (all []raw) {
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

func repeated(n int, frames ...[]raw) (all []raw) {
	one := join(frames...)
	for range n {
		all = append(all, one...)
	}
	return all
}

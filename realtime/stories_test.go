package realtime_test

// stories says what becomes of each recorded channel when a real client lives
// through it; see replay. They follow from the recordings' notes, which are
// given in brief.
var stories = map[string]string{
	// Public channels without bindings are live as soon as they are joined.
	"01-join-public.vsn1": `
a empty-config: live
a lobby: live
a presence-on: live`,
	"01-join-public.vsn2": `
a empty-config: live
a lobby: live
a presence-on: live`,
	// Every column type, replica identity FULL: eleven statements, twelve rows.
	"02-private-postgres-changes-full.vsn1": `
a room:t_full: gap: started, 12 changes, ended: left`,
	"02-private-postgres-changes-full.vsn2": `
a room:t_full: gap: started, 12 changes, ended: left`,
	// The same with replica identity DEFAULT.
	"03-private-postgres-changes-default.vsn1": `
a room:t_def: gap: started, 12 changes, ended: left`,
	"03-private-postgres-changes-default.vsn2": `
a room:t_def: gap: started, 12 changes, ended: left`,
	// One channel per filter; f23 and f25 match nothing.
	"04-filters.vsn2": `
a f#: gap: started, 1 changes, ended: left (3 times)
a f#: gap: started, 2 changes, ended: left
a f#: gap: started, 3 changes, ended: left (8 times)
a f#: gap: started, 4 changes, ended: left (4 times)
a f#: gap: started, 5 changes, ended: left (6 times)
a f#: gap: started, 6 changes, ended: left (3 times)
a f#: gap: started, 7 changes, ended: left (2 times)
a f#: gap: started, 9 changes, ended: left
a f#: gap: started, ended: left (2 times)`,
	// Row level security: a and b see their own rows and every DELETE, n (anon) nothing but DELETEs, s (service_role) everything.
	"05-rls.vsn1": `
a rls: gap: started, 9 changes, ended: left
b rls: gap: started, 9 changes, ended: left
n rls: gap: started, 5 changes, ended: left
s rls: gap: started, 15 changes, ended: left`,
	// One bad binding fails its channel; 400, 401 and 413 events are changes, with errors.
	"06-privileges-errors.vsn1": `
a colpriv-secret-filter: ended: not subscribed
a t_big: gap: started, 5 changes, ended: left
a t_colpriv: gap: started, 3 changes, ended: left
a t_noperm: gap: started, 3 changes, ended: left
a t_nopk: gap: started, 1 changes, ended: left
a t_nopk_full: gap: started, 3 changes, ended: left
a t_toast: gap: started, 4 changes, ended: left
a t_toast_full: gap: started, 3 changes, ended: left
n t_big: gap: started, 5 changes, ended: left
n t_colpriv: gap: started, 3 changes, ended: left
n t_noperm: gap: started, 3 changes, ended: left
n t_nopk: gap: started, 1 changes, ended: left
n t_nopk_full: gap: started, 3 changes, ended: left
n t_toast: gap: started, 4 changes, ended: left
n t_toast_full: gap: started, 3 changes, ended: left`,
	"06-privileges-errors.vsn2": `
a colpriv-secret-filter: ended: not subscribed
a t_big: gap: started, 5 changes, ended: left
a t_colpriv: gap: started, 3 changes, ended: left
a t_noperm: gap: started, 3 changes, ended: left
a t_nopk: gap: started, 1 changes, ended: left
a t_nopk_full: gap: started, 3 changes, ended: left
a t_toast: gap: started, 4 changes, ended: left
a t_toast_full: gap: started, 3 changes, ended: left
n t_big: gap: started, 5 changes, ended: left
n t_colpriv: gap: started, 3 changes, ended: left
n t_noperm: gap: started, 3 changes, ended: left
n t_nopk: gap: started, 1 changes, ended: left
n t_nopk_full: gap: started, 3 changes, ended: left
n t_toast: gap: started, 4 changes, ended: left
n t_toast_full: gap: started, 3 changes, ended: left`,
	// Several bindings; equal ones; unknown keys echoed.
	"07-multiple-bindings.vsn2": `
a extra: gap: started, 2 changes, ended: left
a multi: gap: started, 22 changes, ended: left
a twice: gap: started, 15 changes, ended: left
b multi: gap: started, 1 changes, ended: left`,
	// Broadcasts, two of them no JSON, disturb nobody. A binary push that was relayed to serializer 1.0.0 as text is known to be no change.
	"08-broadcast.vsn1": `
a pub: live
a ro:#: live
a room:b: live
b room:b: live
c room:b: live`,
	"08-broadcast.vsn2": `
a pub: live
a ro:#: live
a room:b: live
b room:b: live
c room:b: live`,
	// Presence messages are ignored by a channel that asked for none.
	"09-presence.vsn2": `
a pp: live
a room:p: live
b bconly:#: live
b pnum: live
b pp: live
b room:p: live
c room:p: live`,
	// The recording client pushed tokens, which these do not: to them the server subscribes again unasked, and ends channels because of a token. Without a token source that is final.
	"10-tokens.vsn1": "" +
		"a room:t: gap: started, gap: resubscribed by the server, 1 changes, gap: resubscribed by the server, 1 changes, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: disconnected, ended: left\n" +
		"c-empty: refused 401 \"The token provided is not a valid JWT\"\n" +
		"c-expired: refused 401 \"Token has expired\"\n" +
		"c-malformed#: refused 401 \"The token provided is not a valid JWT\"\n" +
		"c-malformed: refused 401 \"The token provided is not a valid JWT\"\n" +
		"c-missing: refused 401 \"API key is missing\"\n" +
		"c-no exp: refused 401 \"Fields `role` and `exp` are required in JWT\"\n" +
		"c-no role: refused 401 \"Fields `role` and `exp` are required in JWT\"\n" +
		"c-wrong secret: refused 401 \"Failed to validate JWT signature\"\n" +
		"j-anon (no policy for it) room:t: ended: refused Unauthorized\n" +
		"j-expired room:t: ended: refused InvalidJWTToken\n" +
		"j-malformed room:t: ended: refused MalformedJWT\n" +
		"j-malformed# room:t: ended: refused MalformedJWT\n" +
		"j-no exp room:t: ended: refused InvalidJWTToken\n" +
		"j-no role room:t: ended: refused InvalidJWTToken\n" +
		"j-unknown role room:t: ended: refused Unauthorized\n" +
		"j-wrong secret room:t: ended: refused JwtSignatureError\n" +
		"jp pubrole: ended: not subscribed\n" +
		"ut room:ut: live\n" +
		"x room:x: gap: started, gap opens: channel closed by the server, ended: left\n" +
		"xk room:ut: live\n" +
		"y room:y: live\n",
	"10-tokens.vsn2": "" +
		"a room:t: gap: started, gap: resubscribed by the server, 1 changes, gap: resubscribed by the server, 1 changes, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: channel closed by the server, gap: channel closed by the server, gap opens: disconnected, ended: left\n" +
		"c-empty: refused 401 \"The token provided is not a valid JWT\"\n" +
		"c-expired: refused 401 \"Token has expired\"\n" +
		"c-malformed#: refused 401 \"The token provided is not a valid JWT\"\n" +
		"c-malformed: refused 401 \"The token provided is not a valid JWT\"\n" +
		"c-missing: refused 401 \"API key is missing\"\n" +
		"c-no exp: refused 401 \"Fields `role` and `exp` are required in JWT\"\n" +
		"c-no role: refused 401 \"Fields `role` and `exp` are required in JWT\"\n" +
		"c-wrong secret: refused 401 \"Failed to validate JWT signature\"\n" +
		"j-anon (no policy for it) room:t: ended: refused Unauthorized\n" +
		"j-expired room:t: ended: refused InvalidJWTToken\n" +
		"j-malformed room:t: ended: refused MalformedJWT\n" +
		"j-malformed# room:t: ended: refused MalformedJWT\n" +
		"j-no exp room:t: ended: refused InvalidJWTToken\n" +
		"j-no role room:t: ended: refused InvalidJWTToken\n" +
		"j-unknown role room:t: ended: refused Unauthorized\n" +
		"j-wrong secret room:t: ended: refused JwtSignatureError\n" +
		"jp pubrole: ended: not subscribed\n" +
		"ut room:ut: live\n" +
		"x room:x: gap: started, gap opens: channel closed by the server, ended: left\n" +
		"xk room:ut: live\n" +
		"y room:y: live\n",
	// Odd messages; "private":"yes" and the like. Joins that crash on the server are tried again.
	"11-odd-messages.vsn1": `
a odd: live
jp jp: ended: left
jp jp: live (5 times)
v: refused 403 ""`,
	"11-odd-messages.vsn2": `
a odd: live
jp jp: ended: left
jp jp: live (5 times)
v: refused 403 ""`,
	// The recording client joined twice; this one had joined once, so that the close of the first join ends its channel.
	"12-duplicate-join.vsn1": `
a dup#: 1 changes, ended: left
a dup: gap: started, gap opens: channel closed by the server, 2 changes, ended: left`,
	// Leave and join again.
	"13-leave.vsn2": `
a lv: gap: started, 1 changes, ended: left, joined anew, gap: started, 1 changes, ended: left, joined anew, ended: left`,
	// Replays of broadcasts are ignored.
	"14-replay.vsn1": `
a deny:rp: ended: refused Unauthorized
a room:rp: live, joined anew, live, joined anew, live, joined anew, live, joined anew, live, joined anew, live, joined anew, live`,
	"14-replay.vsn2": `
a deny:rp: ended: refused Unauthorized
a room:rp: live, joined anew, live, joined anew, live, joined anew, live, joined anew, live, joined anew, live, joined anew, live`,
	// Selections of columns: two bindings that differ in theirs bring one change twice.
	"15-select.vsn2": `
a sel: gap: started, 3 changes, ended: left
a selbad: ended: not subscribed
a selempty: gap: started, 3 changes, ended: left
a selfilter: gap: started, 2 changes, ended: left
a selid: gap: started, 3 changes, ended: left
a selnum: gap: started, 3 changes, ended: left
a selpriv#: gap: started, 1 changes, ended: left
a selpriv: ended: not subscribed
a selstar: ended: not subscribed
a selstr: ended: not subscribed
a seltwo: gap: started, 9 changes, ended: left
a selwild: ended: not subscribed`,
	// Bad bindings end with the server's words; three of them are good.
	"17-bad-bindings.vsn1": `
a x#: ended: not subscribed (20 times)
a x#: gap: started, 1 changes, ended: left (3 times)`,
	// A killed slot and a restart of PostgreSQL say nothing; a restart of the server closes with 1012, its death with nothing.
	"18-restarts.vsn1": `
a room:cold: gap: started, 40 changes, gap opens: disconnected, ended: left
a room:warm: gap: started, 40 changes, gap opens: disconnected, ended: left
b room:afterpg: gap: started, 1 changes, gap opens: disconnected, ended: left
c room:again: gap: started, gap opens: disconnected, ended: left
e room:again: gap: started, 1 changes, gap opens: disconnected, ended: left`,
	// Limits: channels per socket, users, joins; changes over the rate are dropped without a word (79 of 150).
	"19-limits.vsn2": `
bf bf: live
ch ch#: ended: refused ChannelRateLimitReached (2 times)
ch ch#: live (100 times)
full: refused 429 "Too many connected users"
j# jf#: live (600 times)
j# late: live (5 times)
p pl: live
pf pf: gap: started, 79 changes, ended: left
rate late: live
u# late: live
u# n#: live (20 times)
u# u: live (3 times)
u#: refused 429 "Too many connected users"`,
	// A thousand rows in one transaction, and others.
	"20-transactions.vsn2": `
a tx: gap: started, 1021 changes, ended: left`,
	// A refused join is answered after 5 s and holds the socket: the good channels wait and lose nothing.
	"21-refused-join-blocks.vsn1": `
a deny:#: ended: refused Unauthorized (3 times)
a fine: live
a good: gap: started, 1 changes, ended: left
b good: gap: started, 1 changes, ended: left`,
	"21-refused-join-blocks.vsn2": `
a deny:#: ended: refused Unauthorized (3 times)
a fine: live
a good: gap: started, 1 changes, ended: left
b good: gap: started, 1 changes, ended: left`,
	// Policies are asked at poll time.
	"22-rls-late-visibility.vsn2": `
a late: gap: started, 4 changes, ended: left
b late: gap: started, 3 changes, ended: left`,
	// The rate limit of joins: refused, and closed with 1001.
	"24-join-rate.vsn2": `
a late: ended: left
a n#: live (30 times)
b n#: ended: left
c: refused 429 "Too many joins per second"`,
}

package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cache/sql"
)

// plans returns the plans of all statements of a call.
func (d cacheDB) plans(function, args string) string {
	d.Helper()
	config := d.conn.Config().Copy()
	var plans strings.Builder
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { plans.WriteString(n.Message + "\n") }
	conn, err := pgx.ConnectConfig(context.Background(), config)
	require.NoError(d, err)
	defer conn.Close(context.Background())
	explained := cacheDB{d.TB, conn}
	explained.run(`load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
		set auto_explain.log_analyze = on; set auto_explain.log_timing = off; set auto_explain.log_level = notice`)
	_, code := explained.call(ann, function, args)
	require.Empty(d, code)
	return plans.String()
}

// A call reads no more than it must: it finds its place by the index of the
// primary key, and does not sort.
func cacheSQLPlans(t *testing.T, c cacheCluster) {
	d := c.installed(t)
	d.owned(`
		create table one (id bigint primary key, v int not null, name text);
		create table two (tenant uuid, no bigint, v int not null, name text, primary key (no, tenant));
		insert into one select i, i % 10, 'name' from generate_series(1, 30000) i;
		insert into two select md5((i % 100)::text)::uuid, i, i % 10, 'name' from generate_series(1, 30000) i;
		alter table one enable row level security; create policy all_of on one using (true)`)
	d.run("vacuum analyze one, two")
	const one, two = `"rel": "one", "key": ["id"], "after": ["15000"]`, `"rel": "two", "key": ["no", "tenant"], "after": ["15000", "00000000-0000-4000-8000-000000000000"]`
	for _, call := range []struct{ function, args, index, cond string }{
		{"rt_chunk", one + `, "lim": 1000`, "one_pkey", `id > '15000'::bigint`},
		{"rt_chunk", two + `, "lim": 1000`, "two_pkey", `ROW(no, tenant) > ROW('15000'::bigint, '00000000-0000-4000-8000-000000000000'::uuid)`},
		{"rt_chunk", one + `, "upto": ["16000"]`, "one_pkey", `(id > '15000'::bigint) AND (id <= '16000'::bigint)`},
		{"rt_digest", one + `, "lim": 1000, "version": ["v"], "bits": 10`, "one_pkey", `(id > '15000'::bigint) AND (id <= '16000'::bigint)`},
		{"rt_digest", one + `, "lim": 1000, "bits": 10, "within_bits": 1, "within": [0]`, "one_pkey", `(id > '15000'::bigint) AND (id <= '16000'::bigint)`},
		{"rt_keys", two + `, "lim": 1000, "version": ["v", "name"]`, "two_pkey", `ROW(no, tenant) <= ROW('15999'::bigint, `},
	} {
		plans := d.plans(call.function, "{"+call.args+"}")
		require.Regexp(t, "Index (Only )?Scan (using|on) "+call.index, plans)
		require.Contains(t, plans, call.cond)
		require.NotContains(t, plans, "Seq Scan on one")
		require.NotContains(t, plans, "Seq Scan on two")
		for _, scan := range regexp.MustCompile(`Scan (?:using|on) (?:one|two)_pkey.*actual rows=(\d+)`).FindAllStringSubmatch(plans, -1) {
			n, err := strconv.Atoi(scan[1])
			require.NoError(t, err)
			require.LessOrEqual(t, n, 1000, plans)
		}
		if call.function == "rt_chunk" {
			require.NotContains(t, plans, "Sort Key: x.id")
			require.NotContains(t, plans, "Sort Key: x.no")
		}
	}
}

// Pages come in the order of the index, whatever the collation or the type has
// for an order, and have every row once.
func cacheSQLOrder(t *testing.T, c cacheCluster) {
	d := c.installed(t)
	d.run("create extension citext schema extensions; create extension hstore schema extensions")
	d.owned(`
		create domain shop.code as extensions.citext check (length(value) < 99);
		create collation shop.upper_first (provider = icu, locale = 'de-u-kf-upper-kn-true');
		create table shop.icu (id text collate shop.upper_first primary key, v int);
		create table shop.icu_and_c (a text collate "und-x-icu", b text collate "C", v int, primary key (b, a));
		create table shop.ci (id extensions.citext primary key, v int);
		create table shop.ci_and_int ("a b" shop.code, n int, v int, primary key ("a b", n));
		create table shop.int_and_ci (n int, "a b" extensions.citext, v int, unique (n, "a b"), more int primary key);
		alter table shop.int_and_ci alter n set not null, alter "a b" set not null;
		alter publication supabase_realtime add table shop.icu, shop.icu_and_c, shop.ci, shop.ci_and_int, shop.int_and_ci`)
	words := append([]string{"Z", "z", "Ä", "ä", "ae", "a10", "a9", "ß", "ss", "co-op", "coop", "CO-OP2", "résumé", "resume", "Resume2"}, texts...)
	for i, word := range words {
		d.run(fmt.Sprintf(`
			insert into shop.icu values (%[1]s, %[2]d);
			insert into shop.icu_and_c select %[1]s, w, %[2]d from unnest(array['B', 'a', 'b']) w;
			insert into shop.ci values (%[1]s, %[2]d) on conflict do nothing;
			insert into shop.ci_and_int select %[1]s, n, %[2]d from generate_series(-1, 1) n on conflict do nothing;
			insert into shop.int_and_ci select n, %[1]s, %[2]d, %[2]d * 10 + n from generate_series(1, 3) n on conflict do nothing`, literal(word), i))
	}
	for table, key := range map[string][]string{
		"icu": {"id"}, "icu_and_c": {"b", "a"}, "ci": {"id"}, "ci_and_int": {"a b", "n"}, "int_and_ci": {"n", "a b"},
	} {
		rel := "shop." + table
		d.run("analyze " + rel)
		want := d.ask(fmt.Sprintf("select json_agg(array[%s] order by %s)::text from %s", strings.ReplaceAll(identifiers(key), ",", "::text,")+"::text", identifiers(key), rel))
		var all, paged [][]string
		require.NoError(t, json.Unmarshal([]byte(want), &all))
		args := map[string]any{"rel": rel, "key": key, "lim": 7}
		for {
			b, err := json.Marshal(args)
			require.NoError(t, err)
			result, code := d.call(as{role: "service_role"}, "rt_chunk", string(b))
			require.Empty(t, code)
			var page struct {
				Rows []map[string]any
				Last []string
			}
			require.NoError(t, json.Unmarshal([]byte(result), &page))
			for _, r := range page.Rows {
				var texts []string
				for _, name := range key {
					texts = append(texts, strings.TrimSuffix(fmt.Sprint(r[name]), ".0"))
				}
				paged = append(paged, texts)
			}
			if page.Last == nil {
				break
			}
			require.Equal(t, paged[len(paged)-1], page.Last)
			args["after"] = page.Last
		}
		require.Equal(t, all, paged, table)

		// A range up to a row and the one behind it are the whole.
		for _, at := range [][]string{all[0], all[len(all)/2], all[len(all)-1]} {
			count := func(bound string) (n int) {
				b, err := json.Marshal(map[string]any{"rel": rel, "key": key, bound: at})
				require.NoError(t, err)
				result, code := d.call(as{role: "service_role"}, "rt_digest", string(b))
				require.Empty(t, code)
				var digest struct{ Buckets [][]any }
				require.NoError(t, json.Unmarshal([]byte(result), &digest))
				if len(digest.Buckets) > 0 {
					n = int(digest.Buckets[0][1].(float64))
				}
				return n
			}
			i := slices.IndexFunc(all, func(k []string) bool { return slices.Equal(k, at) })
			require.Equal(t, i+1, count("upto"), "%s up to %q", table, at)
			require.Equal(t, len(all)-i-1, count("after"), "%s after %q", table, at)
		}
	}
	_, code := d.call(as{role: "service_role"}, "rt_chunk", `{"rel": "shop.ci", "key": ["id"], "filter": [{"column": "id", "op": "in", "values": ["RESUME2", "Z"]}, {"column": "id", "op": "like", "values": ["r%"]}]}`)
	require.Empty(t, code)
	result, _ := d.call(as{role: "service_role"}, "rt_digest", `{"rel": "shop.ci", "key": ["id"], "filter": [{"column": "id", "op": "in", "values": ["RESUME2", "Z"]}, {"column": "id", "op": "like", "values": ["r%"]}]}`)
	require.Contains(t, result, `[[0,1,`, "citext is compared as citext")
}

// remote is the rows of a table in PostgreSQL, as a client sees them.
type remote struct {
	cacheDB
	rel   string
	bytes int // of answers
}

func (r *remote) ask(function string, args map[string]any, result any) {
	r.Helper()
	args["rel"], args["key"], args["version"], args["seed"] = r.rel, []string{"id"}, []string{"v"}, 42
	b, err := json.Marshal(args)
	require.NoError(r, err)
	answer, code := r.call(ann, function, string(b))
	require.Empty(r, code)
	r.bytes += len(answer)
	require.NoError(r, json.Unmarshal([]byte(answer), result))
}

// bucketSums sums the rows of a client within buckets as rt_digest does.
func bucketSums(rows map[string]string, bits, withinBits int, within []int) map[int]string {
	count, sum := map[int]int{}, map[int]uint64{}
	for key, version := range rows {
		slot := sql.Slot(42, []string{key})
		if slices.Contains(within, int(slot>>(64-withinBits))) {
			count[int(slot>>(64-bits))]++
			sum[int(slot>>(64-bits))] ^= sql.Sum(42, []string{key}, []*string{&version})
		}
	}
	sums := map[int]string{}
	for bucket := range count {
		sums[bucket] = fmt.Sprintf("%d %016x", count[bucket], sum[bucket])
	}
	return sums
}

// differing descends from buckets of some bits to the keys that differ.
func (r *remote) differing(rows map[string]string) (keys []string) {
	within, withinBits := []int{0}, 0
	for bits := 6; bits <= 12; bits += 3 {
		var digest struct{ Buckets [][]any }
		r.ask("rt_digest", map[string]any{"bits": bits, "within_bits": withinBits, "within": within}, &digest)
		ours := bucketSums(rows, bits, withinBits, within)
		within = []int{} // not null, which is all
		for _, b := range digest.Buckets {
			n := int(b[0].(float64))
			if ours[n] != fmt.Sprintf("%d %s", int(b[1].(float64)), b[2]) {
				within = append(within, n)
			}
			delete(ours, n)
		}
		for n := range ours {
			within = append(within, n)
		}
		withinBits = bits
	}
	var list struct{ Keys [][]any }
	r.ask("rt_keys", map[string]any{"within_bits": withinBits, "within": within}, &list)
	theirs := map[string]string{}
	for _, k := range list.Keys {
		theirs[k[0].([]any)[0].(string)] = k[1].(string)
	}
	for key, version := range rows {
		if slices.Contains(within, int(sql.Slot(42, []string{key})>>(64-withinBits))) && theirs[key] != fmt.Sprintf("%016x", sql.Sum(42, []string{key}, []*string{&version})) {
			keys = append(keys, key)
		}
		delete(theirs, key)
	}
	for key := range theirs {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// Rows that changed unheard are found, all of them and no others, by reading
// little.
func cacheSQLFindsChanges(t *testing.T, c cacheCluster) {
	const n = 20000
	d := c.installed(t)
	d.owned(`create table t (id int primary key, v int not null); insert into t select i, 0 from generate_series(1, 20000) i`)
	rows := map[string]string{}
	for i := range n {
		rows[strconv.Itoa(i+1)] = "0"
	}
	r := &remote{cacheDB: d, rel: "t"}
	require.Empty(t, r.differing(rows))
	require.Less(t, r.bytes, 3000, "equal tables cost one level")

	random := rand.New(rand.NewPCG(1, 2))
	var changed []string
	for _, i := range random.Perm(n)[:10] {
		id := strconv.Itoa(i + 1)
		switch len(changed) % 3 {
		case 0:
			d.owned("update t set v = v + 1 where id = " + id)
		case 1:
			d.owned("delete from t where id = " + id)
		default:
			id = strconv.Itoa(i + n + 1)
			d.owned("insert into t values (" + id + ", 0)")
		}
		changed = append(changed, id)
	}
	slices.Sort(changed)
	r.bytes = 0
	require.Equal(t, changed, r.differing(rows))
	require.Less(t, r.bytes, 10000, "of 20,000 rows 10 differ")

	// What calls for adjoining ranges return adds up.
	var whole, part struct {
		Buckets [][]any
		Last    []string
	}
	r.ask("rt_digest", map[string]any{}, &whole)
	count, sum := 0, uint64(0)
	for args := map[string]any{"lim": 3000}; ; args["after"] = part.Last {
		part.Last = nil
		r.ask("rt_digest", args, &part)
		count += int(part.Buckets[0][1].(float64))
		more, err := strconv.ParseUint(part.Buckets[0][2].(string), 16, 64)
		require.NoError(t, err)
		if sum ^= more; part.Last == nil {
			break
		}
	}
	require.Equal(t, []any{0.0, float64(count), fmt.Sprintf("%016x", sum)}, whole.Buckets[0])
}

// A mark is of a state that has all that was committed before the call, and
// calls with one mark come one after the other.
func cacheSQLMarksInOrder(t *testing.T, c cacheCluster) {
	ctx := context.Background()
	d := c.installed(t)
	d.owned("create table t (id int primary key); insert into t values (1)")
	const id = "00000000-0000-4000-8000-000000000001"
	d.insertMark(ann, id)
	other := c.connect(t, d.conn.Config().ConnString())
	second := make(chan string)
	require.NoError(t, d.in(ann, func(tx pgx.Tx) error {
		var first string
		require.NoError(t, tx.QueryRow(ctx, "select public.rt_chunk('t', '{id}', mark => '"+id+"')::text").Scan(&first))
		require.Equal(t, `{"last":null,"rows":[{"id":1}],"seq":1}`, compact(t, first))
		go func() {
			result, _ := other.call(ann, "rt_chunk", `{"rel": "t", "key": ["id"], "mark": "`+id+`"}`)
			second <- result
		}()
		watch := c.connect(t, d.conn.Config().ConnString())
		for watch.ask("select count(*)::text from pg_locks where not granted") == "0" {
			select {
			case result := <-second:
				t.Errorf("a mark overtook one that is not committed: %s", result)
				return nil
			default:
			}
		}
		return nil
	}))
	require.Equal(t, `{"last":null,"rows":[{"id":1}],"seq":2}`, <-second)
}

// BenchmarkCacheSQL calls the functions as a signed-in user under row level
// security: pages of 1,000 rows, and digests and lists of keys of a
// million rows.
func BenchmarkCacheSQL(b *testing.B) {
	d := newCacheCluster(b).installed(b)
	d.owned(`
		create table big (id bigint primary key, tenant uuid not null, name text, qty int not null, price numeric(12, 2), updated_at timestamptz not null);
		insert into big select i, md5((i % 100)::text)::uuid, 'name of ' || i, i % 1000, (i % 9999) / 100.0, '2026-01-01'::timestamptz + i * interval '1.234567 s' from generate_series(1, 1000000) i;
		alter table big enable row level security; create policy all_of on big using (true)`)
	d.run("vacuum analyze big")
	const rel = `"rel": "big", "key": ["id"]`
	for _, call := range []struct{ name, function, args string }{
		{"chunk of 1000", "rt_chunk", rel + `, "after": ["500000"], "lim": 1000`},
		{"digest of 1M by key", "rt_digest", rel + `, "bits": 10`},
		{"digest of 1M by int", "rt_digest", rel + `, "bits": 10, "version": ["qty"]`},
		{"digest of 1M by timestamptz", "rt_digest", rel + `, "bits": 10, "version": ["updated_at"]`},
		{"digest of 1M within 10 of 1024", "rt_digest", rel + `, "bits": 15, "version": ["qty"], "within_bits": 10, "within": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]`},
		{"digest of 100k", "rt_digest", rel + `, "bits": 10, "version": ["qty"], "after": ["500000"], "lim": 100000`},
		{"keys within 10 of 1024", "rt_keys", rel + `, "version": ["qty"], "within_bits": 10, "within": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]`},
		{"describe", "rt_describe", `"rel": "big"`},
	} {
		b.Run(call.name, func(b *testing.B) {
			size := 0
			for b.Loop() {
				result, code := d.call(ann, call.function, "{"+call.args+"}")
				require.Empty(b, code)
				size = len(result)
			}
			b.ReportMetric(float64(size), "answer-bytes")
		})
	}
}

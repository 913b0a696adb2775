import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { Member, watch, type Change } from '../src/member.ts'
import { administrator, newTag, newUsers, ok, service, signedIn } from '../src/project.ts'

const [ann] = await newUsers(1)

// tagged returns a tag for the rows of a test, which are removed when it ends.
function tagged(t: TestContext, table: string): string {
  const tag = newTag()
  t.after(async () => ok(await service.from(table).delete().eq('tag', tag).select()))
  return tag
}

async function insert(table: string, rows: object | object[]): Promise<any[]> {
  return ok(await service.from(table).insert(rows).select())
}

// summary is what a test looks at of a change.
const summary = ({ eventType, new: record, old, errors }: Change) => ({ eventType, new: record, old, errors })

describe('postgres_changes', { concurrency: true }, () => {
  test('INSERT, UPDATE and DELETE, with the whole old row under replica identity full', async (t) => {
    const tag = tagged(t, 'conformance_items')
    const changes = await watch(await signedIn(t, ann!), newTag(), { table: 'conformance_items', filter: `tag=eq.${tag}` })
    const began = Date.now()
    const [row] = await insert('conformance_items', { tag, name: 'pen', qty: 1 })
    ok(await service.from('conformance_items').update({ qty: 2 }).eq('id', row.id).select())
    ok(await service.from('conformance_items').delete().eq('id', row.id).select())

    const got = await changes.take(3)
    assert.deepEqual(got.map(summary), [
      { eventType: 'INSERT', new: row, old: {}, errors: null },
      { eventType: 'UPDATE', new: { ...row, qty: 2 }, old: row, errors: null },
      { eventType: 'DELETE', new: {}, old: { ...row, qty: 2 }, errors: null },
    ])
    for (const { schema, table, commit_timestamp } of got) {
      assert.deepEqual([schema, table], ['public', 'conformance_items'])
      assert.match(commit_timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      assert.ok(Math.abs(Date.parse(commit_timestamp) - began) < 60_000, commit_timestamp)
    }
  })

  test('the old row has the key alone under the usual replica identity', async (t) => {
    const tag = tagged(t, 'conformance_keyed')
    const changes = await watch(await signedIn(t, ann!), newTag(), { table: 'conformance_keyed' })
    const [row] = await insert('conformance_keyed', { tag, n: 1 })
    const moved = { ...row, id: row.id + 1_000_000_000 }
    ok(await service.from('conformance_keyed').update({ n: 2 }).eq('id', row.id).select())
    ok(await service.from('conformance_keyed').update({ id: moved.id }).eq('id', row.id).select())
    ok(await service.from('conformance_keyed').delete().eq('id', moved.id).select())

    const ids = [row.id, moved.id]
    const got = (await changes.until((c) => c.eventType === 'DELETE' && c.old.id === moved.id))
      .filter((c) => ids.includes(c.new.id) || ids.includes(c.old.id))
    assert.deepEqual(got.map(summary), [
      { eventType: 'INSERT', new: row, old: {}, errors: null },
      { eventType: 'UPDATE', new: { ...row, n: 2 }, old: { id: row.id }, errors: null },
      { eventType: 'UPDATE', new: { ...moved, n: 2 }, old: { id: row.id }, errors: null },
      { eventType: 'DELETE', new: {}, old: { id: moved.id }, errors: null },
    ])
  })

  test('a large value that an UPDATE leaves alone is missing', async (t) => {
    const tag = tagged(t, 'conformance_keyed')
    const changes = await watch(await signedIn(t, ann!), newTag(), { table: 'conformance_keyed', event: 'UPDATE' })
    const [row] = await insert('conformance_keyed', { tag, n: 1, big: 'x'.repeat(10_000) })
    ok(await service.from('conformance_keyed').update({ n: 2 }).eq('id', row.id).select())
    ok(await service.from('conformance_keyed').update({ big: 'y'.repeat(9_000) }).eq('id', row.id).select())

    const mine = (c: Change) => c.new.id === row.id
    const [first] = (await changes.until(mine)).slice(-1)
    assert.deepEqual(first!.new, { id: row.id, tag, n: 2 })
    const [second] = (await changes.until(mine)).slice(-1)
    assert.deepEqual(second!.new, { id: row.id, tag, n: 2, big: 'y'.repeat(9_000) })
  })

  test('a binding gets the events that it asks for', async (t) => {
    const tag = tagged(t, 'conformance_items')
    const member = new Member(await signedIn(t, ann!), newTag())
    const binding = (event: string) => member.changes({ event, table: 'conformance_items', filter: `tag=eq.${tag}` })
    const all = binding('*')
    const each = ['INSERT', 'UPDATE', 'DELETE'].map(binding)
    await member.watch()
    await insert('conformance_items', [{ tag, name: 'a' }, { tag, name: 'b' }])
    ok(await service.from('conformance_items').update({ qty: 1 }).eq('tag', tag).eq('name', 'a').select())
    ok(await service.from('conformance_items').delete().eq('tag', tag).select())

    const events = ['INSERT', 'INSERT', 'UPDATE', 'DELETE', 'DELETE']
    assert.deepEqual((await all.take(5)).map((c) => c.eventType), events)
    assert.deepEqual(each.map((inbox) => inbox.rest().map((c) => c.eventType)), [['INSERT', 'INSERT'], ['UPDATE'], ['DELETE', 'DELETE']])
  })

  test('a binding without a table gets those of the schema', async (t) => {
    const tag = tagged(t, 'conformance_items')
    t.after(async () => ok(await service.from('conformance_keyed').delete().eq('tag', tag).select()))
    const changes = await watch(await signedIn(t, ann!), newTag(), { event: 'INSERT' })
    await insert('conformance_items', { tag })
    await insert('conformance_keyed', { tag })
    const got = await changes.until((c) => c.table === 'conformance_keyed' && c.new.tag === tag)
    assert.deepEqual(got.filter((c) => c.new.tag === tag).map((c) => c.table), ['conformance_items', 'conformance_keyed'])
  })

  test('rows of a transaction come in their order with one time', async (t) => {
    const tag = tagged(t, 'conformance_items')
    const changes = await watch(await signedIn(t, ann!), newTag(), { table: 'conformance_items', filter: `tag=eq.${tag}` })
    await insert('conformance_items', Array.from({ length: 50 }, (_, qty) => ({ tag, qty })))
    const got = await changes.take(50)
    assert.deepEqual(got.map((c) => c.new.qty), Array.from({ length: 50 }, (_, qty) => qty))
    assert.equal(new Set(got.map((c) => c.commit_timestamp)).size, 1)
  })

  test('every socket gets every change', async (t) => {
    const tag = tagged(t, 'conformance_items')
    const inboxes = await Promise.all(Array.from({ length: 3 }, async () =>
      watch(await signedIn(t, ann!), newTag(), { table: 'conformance_items', filter: `tag=eq.${tag}` })))
    const [row] = await insert('conformance_items', { tag, name: 'one' })
    for (const inbox of inboxes) assert.deepEqual((await inbox.next()).new, row)
  })

  test('clients of both versions of the protocol get the same', async (t) => {
    const tag = tagged(t, 'conformance_items')
    const inboxes = await Promise.all(['1.0.0', '2.0.0'].map(async (vsn) =>
      watch(await signedIn(t, ann!, { vsn }), newTag(), { table: 'conformance_items', filter: `tag=eq.${tag}` })))
    const [row] = await insert('conformance_items', { tag, name: 'naïve ☃', price: 1.5 })
    ok(await service.from('conformance_items').delete().eq('id', row.id).select())
    const [first, second] = await Promise.all(inboxes.map((inbox) => inbox.take(2)))
    assert.deepEqual(first, second)
    assert.deepEqual(first!.map(summary), [
      { eventType: 'INSERT', new: row, old: {}, errors: null }, { eventType: 'DELETE', new: {}, old: row, errors: null },
    ])
  })

  test('an upsert of a row that is there is an UPDATE', async (t) => {
    const tag = tagged(t, 'conformance_items')
    const changes = await watch(await signedIn(t, ann!), newTag(), { table: 'conformance_items', filter: `tag=eq.${tag}` })
    const [row] = await insert('conformance_items', { tag, qty: 1 })
    ok(await service.from('conformance_items').upsert({ ...row, qty: 2 }).select())
    assert.deepEqual((await changes.take(2)).map((c) => [c.eventType, c.new.qty]), [['INSERT', 1], ['UPDATE', 2]])
  })

  test('columns that a user may not read are left out', async (t) => {
    const tag = tagged(t, 'conformance_columns')
    const binding = { table: 'conformance_columns', filter: `tag=eq.${tag}` }
    const asUser = await watch(await signedIn(t, ann!), newTag(), binding)
    const asService = await watch(administrator(t), newTag(), binding)
    const [row] = await insert('conformance_columns', { tag, shown: 'shown', secret: 'secret' })
    assert.deepEqual((await asUser.next()).new, { id: row.id, tag, shown: 'shown' })
    assert.deepEqual((await asService.next()).new, row)
  })

  test('a row without a primary key is an error in its place', async (t) => {
    const tag = tagged(t, 'conformance_keyless')
    const changes = await watch(await signedIn(t, ann!), newTag(), { table: 'conformance_keyless' })
    await insert('conformance_keyless', { tag, n: 1 })
    const change = await changes.next()
    assert.deepEqual(summary(change), { eventType: 'INSERT', new: {}, old: {}, errors: ['Error 400: Bad Request, no primary key'] })
    assert.equal(change.commit_timestamp, null)
  })

  test('a binding that cannot be subscribed fails all of the channel, which stays joined', async (t) => {
    const client = await signedIn(t, ann!)
    const member = new Member(client, newTag())
    member.changes({ table: 'conformance_items' })
    member.changes({ table: 'conformance_none' })
    await member.join()
    const { status, extension, message } = await member.systems.next()
    assert.deepEqual([status, extension], ['error', 'postgres_changes'])
    assert.match(message, /^Unable to subscribe to changes with given parameters\. Please check Realtime is enabled for the given connect parameters: /)
    assert.equal(member.channel.state, 'joined')
    assert.deepEqual(member.statuses.rest(), [])
  })
})

describe('values', { concurrency: true }, () => {
  test('come as their types have it', async (t) => {
    const tag = tagged(t, 'conformance_values')
    const client = await signedIn(t, ann!)
    const changes = await watch(client, newTag(), { table: 'conformance_values', filter: `tag=eq.${tag}` })
    await insert('conformance_values', {
      tag, c_int2: -32768, c_int4: 2147483647, c_int8: '9223372036854775807', c_numeric: '12345678901234567890.12345678901234567890',
      c_float4: 1.5, c_float8: 0.1, c_bool: true, c_text: 'naïve ☃ 😀 "q" \\ \n\t', c_varchar: 'v', c_char: 'ab',
      c_uuid: '6F1E3C56-4F0A-4A43-9A0D-6F6C3B1F2D11', c_timestamptz: '2024-02-29T12:34:56.789012+02:00', c_timestamp: '2024-02-29 12:34:56.5',
      c_date: '2024-02-29', c_time: '12:34:56.789012', c_interval: '1 day 02:03:04.5',
      c_json: { b: 1, a: [1, null] }, c_jsonb: { b: 1, a: [1, null] }, c_bytea: '\\xdeadbeef00ff',
      c_texts: ['a', 'b c', 'd"e', null, ''], c_ints: [1, null, 3], c_mood: 'happy', c_oid: 4294967295,
    })
    const { id, ...record } = (await changes.next()).new
    assert.equal(typeof id, 'number')
    assert.deepEqual(record, {
      tag, c_int2: -32768, c_int4: 2147483647, c_int8: 9223372036854775807, c_numeric: 12345678901234567890.12345678901234567890,
      c_float4: 1.5, c_float8: 0.1, c_bool: true, c_text: 'naïve ☃ 😀 "q" \\ \n\t', c_varchar: 'v', c_char: 'a',
      c_uuid: '6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11', c_timestamptz: '2024-02-29T10:34:56.789012+00:00', c_timestamp: '2024-02-29T12:34:56.5',
      c_date: '2024-02-29', c_time: '12:34:56.789012', c_interval: '1 day 02:03:04.5',
      c_json: { b: 1, a: [1, null] }, c_jsonb: { b: 1, a: [1, null] }, c_bytea: 'deadbeef00ff',
      c_texts: ['a', 'b c', 'd"e', null, ''], c_ints: [1, null, 3], c_mood: 'happy', c_oid: 4294967295,
    })
    // The client makes doubles of numbers: they are looked at as they came.
    const frame = client.sockets.frames.find((f) => f.includes(tag) && f.includes('commit_timestamp'))!.replaceAll(': ', ':').replaceAll(', ', ',')
    for (const text of ['"c_int8":9223372036854775807', '"c_numeric":12345678901234567890.12345678901234567890', '"c_oid":"4294967295"']) {
      assert.ok(frame.includes(text), `${text} on the wire: ${frame}`)
    }
    const { columns } = JSON.parse(frame)[4].data
    for (const column of [{ name: 'c_texts', type: '_text' }, { name: 'c_char', type: 'bpchar' }, { name: 'c_mood', type: 'conformance_mood' }]) {
      assert.deepEqual(columns.find((c: { name: string }) => c.name === column.name), column)
    }
  })

  test('NULL is null, and what JSON has no number for is null, too', async (t) => {
    const tag = tagged(t, 'conformance_values')
    const changes = await watch(await signedIn(t, ann!), newTag(), { table: 'conformance_values', filter: `tag=eq.${tag}` })
    const [row] = await insert('conformance_values', { tag })
    assert.deepEqual((await changes.next()).new, row)
    await insert('conformance_values', { tag, c_float8: 'NaN', c_float4: 'Infinity', c_numeric: 'NaN', c_timestamptz: 'infinity', c_date: '0044-03-15 BC' })
    const { c_float8, c_float4, c_numeric, c_timestamptz, c_date } = (await changes.next()).new
    assert.deepEqual([c_float8, c_float4, c_numeric, c_timestamptz, c_date], [null, null, null, 'infinity', '0044-03-15 BC'])
  })
})

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { postgresChangesFilter } from '@supabase/supabase-js'
import { Inbox } from '../src/inbox.ts'
import { Member, type Binding, type Change } from '../src/member.ts'
import { newTag, newUsers, ok, service, signedIn, type Client } from '../src/project.ts'

const [ann] = await newUsers(1)
const tag = newTag()
const owners = ['6f1e3c56-4f0a-4a43-9a0d-6f6c3b1f2d11', '0c9d6a0e-3f65-4a3c-8e0b-0a4f5a2f7c22']

const rows = [
  { name: 'apple', qty: 1, price: 1.5, active: true, owner: owners[0], at: '2024-01-01T00:00:00Z', note: null },
  { name: 'Apple pie', qty: 5, price: 10, active: false, owner: owners[1], at: '2024-06-01T00:00:00Z', note: 'x,y' },
  { name: 'banana', qty: 10, price: 99.99, active: null, owner: null, at: null, note: 'in (brackets)' },
  { name: 'cherry', qty: null, price: null, active: true, owner: owners[0], at: '2025-01-01T00:00:00Z', note: 'say "q"' },
  { name: 'a%b_c', qty: -3, price: '12345678901234567890.5', active: false, owner: owners[1], at: '2024-01-01T00:00:00Z', note: '' },
]
const all = rows.map((r) => r.name)
const but = (...names: string[]) => all.filter((name) => !names.includes(name))

// cases are filters and the names of the rows whose INSERT passes.
const cases: [string, string[]][] = [
  ['name=eq.apple', ['apple']],
  ['qty=eq.5', ['Apple pie']],
  ['price=eq.1.500', ['apple']],
  ['price=eq.12345678901234567890.5', ['a%b_c']],
  ['active=eq.true', ['apple', 'cherry']],
  [`owner=eq.${owners[1]!.toUpperCase()}`, ['Apple pie', 'a%b_c']],
  ['at=eq.2024-06-01T02:00:00+02:00', ['Apple pie']],
  ['note=eq."x,y"', ['Apple pie']],
  ['note=eq."in (brackets)"', ['banana']],
  ['note=eq.say "q"', ['cherry']],
  ['qty=neq.5', ['apple', 'banana', 'a%b_c']],
  ['qty=lt.5', ['apple', 'a%b_c']],
  ['qty=lte.5', ['apple', 'Apple pie', 'a%b_c']],
  ['qty=gt.5', ['banana']],
  ['qty=gte.5', ['Apple pie', 'banana']],
  ['at=gte.2024-06-01', ['Apple pie', 'cherry']],
  ['price=gt.12345678901234567890.4', ['a%b_c']],
  ['name=in.(apple,banana,other)', ['apple', 'banana']],
  ['note=in.("x,y","in (brackets)")', ['Apple pie', 'banana']],
  ['qty=in.(1,10)', ['apple', 'banana']],
  ['name=like.a%', ['apple', 'a%b_c']],
  ['name=like.a\\%b%', ['a%b_c']],
  ['name=like._pple', ['apple']],
  ['name=ilike.APPLE%', ['apple', 'Apple pie']],
  ['name=match.^[ab].*a', ['banana']],
  ['name=imatch.^APPLE', ['apple', 'Apple pie']],
  ['qty=is.null', ['cherry']],
  ['active=is.true', ['apple', 'cherry']],
  ['active=is.false', ['Apple pie', 'a%b_c']],
  ['active=is.unknown', ['banana']],
  ['qty=isdistinct.5', but('Apple pie')],
  ['name=not.eq.apple', but('apple')],
  ['qty=not.eq.5', ['apple', 'banana', 'a%b_c']],
  ['qty=not.neq.5', ['Apple pie']],
  ['qty=not.lt.5', ['Apple pie', 'banana']],
  ['qty=not.lte.5', ['banana']],
  ['qty=not.gt.5', ['apple', 'Apple pie', 'a%b_c']],
  ['qty=not.gte.5', ['apple', 'a%b_c']],
  ['name=not.in.(apple,banana)', but('apple', 'banana')],
  ['name=not.like.a%', but('apple', 'a%b_c')],
  ['name=not.ilike.APPLE%', but('apple', 'Apple pie')],
  ['name=not.match.an', but('banana')],
  ['name=not.imatch.AN', but('banana')],
  ['qty=not.is.null', but('cherry')],
  ['active=not.is.true', ['Apple pie', 'banana', 'a%b_c']],
  ['qty=not.isdistinct.5', ['Apple pie']],
  ['qty=gt.0, active=is.true', ['apple']],
  ['name=like.%pple%,qty=lt.9,price=gte.10', ['Apple pie']],
]

const built: [ReturnType<typeof postgresChangesFilter>, string[]][] = [
  [postgresChangesFilter().eq('note', 'x,y'), ['Apple pie']],
  [postgresChangesFilter().in('note', ['in (brackets)', 'say "q"']), ['banana', 'cherry']],
  [postgresChangesFilter().gt('qty', 0).is('active', true), ['apple']],
  [postgresChangesFilter().not('name', 'in', ['apple', 'banana']), but('apple', 'banana')],
]

// Every filter has a channel of its own, all of them on one socket, which gets
// changes in the order of their commits. A row of another table comes last and
// says that the others have been there.
describe('filters', () => {
  let client: Client
  let end: Inbox<Change>
  const channels = new Map<unknown, Inbox<Change>>()
  const ended = newTag()

  const open = async (binding: Binding): Promise<Inbox<Change>> => {
    const member = new Member(client, newTag())
    const inbox = member.changes({ event: 'INSERT', ...binding })
    await member.watch()
    return inbox
  }

  before(async () => {
    client = await signedIn(undefined, ann!)
    end = await open({ table: 'conformance_keyed', filter: `tag=eq.${ended}` })
    for (const [filter] of [...cases, ...built]) {
      channels.set(filter, await open({ table: 'conformance_items', filter }))
    }
    ok(await service.from('conformance_items').insert(rows.map((row) => ({ tag, ...row }))).select())
    ok(await service.from('conformance_keyed').insert({ tag: ended }).select())
    await end.next()
  })

  after(async () => {
    await client.supabase.realtime.disconnect()
    ok(await service.from('conformance_items').delete().eq('tag', tag).select())
    ok(await service.from('conformance_keyed').delete().eq('tag', ended).select())
  })

  for (const [filter, want] of [...cases, ...built]) {
    test(`${filter}`, () => {
      const mine = channels.get(filter)!.rest().filter((c) => c.new.tag === tag)
      assert.deepEqual(mine.map((c) => c.new.name), want)
    })
  }
})

describe('a filter', { concurrency: true }, () => {
  test('looks at the new row of an UPDATE and at the old one of a DELETE', async (t) => {
    const client = await signedIn(t, ann!)
    const tag = newTag()
    const member = new Member(client, newTag())
    const ones = member.changes({ table: 'conformance_items', filter: `tag=eq.${tag},qty=eq.1` })
    const twos = member.changes({ table: 'conformance_items', filter: `tag=eq.${tag},qty=eq.2` })
    await member.watch()
    const [row] = ok(await service.from('conformance_items').insert({ tag, qty: 1 }).select())
    ok(await service.from('conformance_items').update({ qty: 2 }).eq('id', row.id).select())
    ok(await service.from('conformance_items').delete().eq('id', row.id).select())
    assert.deepEqual((await twos.take(2)).map((c) => c.eventType), ['UPDATE', 'DELETE'])
    assert.deepEqual(ones.rest().map((c) => c.eventType), ['INSERT'], 'a row that leaves a filter does so in silence')
  })

  test('on another column than the key keeps the DELETE of a row away under the usual replica identity', async (t) => {
    const client = await signedIn(t, ann!)
    const tag = newTag()
    const [row] = ok(await service.from('conformance_keyed').insert({ tag, n: 1 }).select())
    const member = new Member(client, newTag())
    const byTag = member.changes({ table: 'conformance_keyed', filter: `tag=eq.${tag}` })
    const byKey = member.changes({ table: 'conformance_keyed', event: 'DELETE', filter: `id=eq.${row.id}` })
    await member.watch()
    ok(await service.from('conformance_keyed').update({ n: 2 }).eq('id', row.id).select())
    ok(await service.from('conformance_keyed').delete().eq('id', row.id).select())
    assert.deepEqual((await byKey.next()).old, { id: row.id })
    assert.ok(byTag.rest().every((c) => c.eventType !== 'DELETE'))
  })

  const bad: [string, RegExp][] = [
    ['none=eq.1', /An exception happened so please check your connect parameters: .*invalid column for filter none/s],
    ['qty=eq.many', /An exception happened so please check your connect parameters: .*invalid input syntax for type integer: "many"/s],
    ['name=match.(', /An exception happened so please check your connect parameters: /],
    ['qty=like.1%', /An exception happened so please check your connect parameters: /],
    ['qty=is.maybe', /^(Error parsing `filter` params|Unable to subscribe)/],
    ['qty=around.1', /^Error parsing `filter` params: /],
    ['qty', /^Error parsing `filter` params: /],
    ['qty=gt.1,,qty=lt.5', /^Error parsing `filter` params: /],
  ]
  for (const [filter, want] of bad) {
    test(`that is wrong is told of: ${filter}`, async (t) => {
      const member = new Member(await signedIn(t, ann!), newTag())
      member.changes({ table: 'conformance_items', filter })
      await member.join()
      const { status, extension, message } = await member.systems.next()
      assert.deepEqual([status, extension], ['error', 'postgres_changes'])
      assert.match(message, want)
    })
  }
})

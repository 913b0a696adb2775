import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { Member, watch } from '../src/member.ts'
import { newTag, newUsers, ok, service, signedIn } from '../src/project.ts'

const [ann] = await newUsers(1)
const tag = newTag()
after(async () => ok(await service.from('conformance_items').delete().eq('tag', tag).select()))

describe('select', { concurrency: true }, () => {
  test('gives the columns that it names and the key', async (t) => {
    const binding = { table: 'conformance_items', filter: `tag=eq.${tag},name=like.chosen%`, select: ['name', 'qty'] }
    const changes = await watch(await signedIn(t, ann!), newTag(), binding)
    const [row] = ok(await service.from('conformance_items').insert({ tag, name: 'chosen', qty: 1, note: 'not this' }).select())
    ok(await service.from('conformance_items').update({ name: 'chosen again' }).eq('id', row.id).select())
    ok(await service.from('conformance_items').delete().eq('id', row.id).select())
    const before = { id: row.id, name: 'chosen', qty: 1 }
    const then = { ...before, name: 'chosen again' }
    assert.deepEqual((await changes.take(3)).map((c) => [c.eventType, c.new, c.old]), [
      ['INSERT', before, {}], ['UPDATE', then, before], ['DELETE', {}, then],
    ])
  })

  test('of two bindings makes two messages of one change', async (t) => {
    const client = await signedIn(t, ann!)
    const member = new Member(client, newTag())
    const filter = `tag=eq.${tag},name=eq.twice`
    const names = member.changes({ table: 'conformance_items', filter, select: ['name'] })
    const amounts = member.changes({ table: 'conformance_items', filter, select: ['qty'] })
    await member.watch()
    const [row] = ok(await service.from('conformance_items').insert({ tag, name: 'twice', qty: 2 }).select())
    assert.deepEqual((await names.next()).new, { id: row.id, name: 'twice' })
    assert.deepEqual((await amounts.next()).new, { id: row.id, qty: 2 })
    assert.deepEqual([names.rest(), amounts.rest()], [[], []])
  })

  test('of a column that is not there is told of', async (t) => {
    const member = new Member(await signedIn(t, ann!), newTag())
    member.changes({ table: 'conformance_items', select: ['none'] })
    await member.join()
    const { status, message } = await member.systems.next()
    assert.equal(status, 'error')
    assert.match(message, /^Unable to subscribe to changes with given parameters\. An exception happened /)
  })

  test('of a column that a user may not read is told of', async (t) => {
    const member = new Member(await signedIn(t, ann!), newTag())
    member.changes({ table: 'conformance_columns', select: ['secret'] })
    await member.join()
    assert.equal((await member.systems.next()).status, 'error')
  })

  test('without a table is told of', async (t) => {
    const member = new Member(await signedIn(t, ann!), newTag())
    member.changes({ select: ['id'] })
    await member.join()
    const { status, message } = await member.systems.next()
    assert.equal(status, 'error')
    assert.match(message, /^Column selection is not supported for wildcard subscriptions\./)
  })
})

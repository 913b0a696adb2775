import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { Member } from '../src/member.ts'
import { newTag, newUsers, ok, service, signedIn } from '../src/project.ts'

const [ann] = await newUsers(1)
const table = 'conformance_items'

function tagged(t: TestContext): string {
  const tag = newTag()
  t.after(async () => ok(await service.from(table).delete().eq('tag', tag).select()))
  return tag
}

const item = async (tag: string, name: string) => ok(await service.from(table).insert({ tag, name }).select())[0]

describe('reconnecting', { concurrency: true }, () => {
  test('after the connection was cut, every channel is joined again and changes go on', async (t) => {
    const tag = tagged(t)
    const client = await signedIn(t, ann!)
    const open = new Member(client, newTag())
    const changes = open.changes({ table, filter: `tag=eq.${tag}` })
    const closed = new Member(client, `conformance:room:${newTag()}`, { private: true })
    const alike = closed.changes({ table, filter: `tag=eq.${tag}` })
    await open.watch()
    await closed.watch()
    const before = await item(tag, 'before')
    assert.deepEqual((await changes.next()).new, before)
    assert.deepEqual((await alike.next()).new, before)

    client.sockets.cut()
    for (const member of [open, closed]) {
      await member.statuses.until((s) => s.status === 'CHANNEL_ERROR')
      await member.statuses.until((s) => s.status === 'SUBSCRIBED')
      await member.subscribed()
    }
    const after = await item(tag, 'after')
    assert.deepEqual((await changes.next()).new, after, 'once')
    assert.deepEqual((await alike.next()).new, after)
    assert.deepEqual([changes.rest(), alike.rest()], [[], []])
    assert.equal(client.sockets.urls.length, 2)
  })

  test('what is committed meanwhile is not told of', async (t) => {
    const tag = tagged(t)
    const client = await signedIn(t, ann!, { reconnectAfterMs: () => 3000 })
    const member = new Member(client, newTag())
    const changes = member.changes({ table, filter: `tag=eq.${tag}` })
    const witness = new Member(await signedIn(t, ann!), newTag())
    const witnessed = witness.changes({ table, filter: `tag=eq.${tag}` })
    await member.watch()
    await witness.watch()
    client.sockets.cut()
    await member.statuses.until((s) => s.status === 'CHANNEL_ERROR')
    const lost = await item(tag, 'lost')
    // Once somebody else has seen the change, it is past.
    assert.deepEqual((await witnessed.next()).new, lost)
    await member.statuses.until((s) => s.status === 'SUBSCRIBED')
    await member.subscribed()
    const seen = await item(tag, 'seen')
    assert.deepEqual((await changes.next()).new, seen)
  })

  test('a client that disconnected connects again when it is told to', async (t) => {
    const tag = tagged(t)
    const client = await signedIn(t, ann!)
    const first = new Member(client, newTag())
    await first.join()
    await client.supabase.removeAllChannels()
    await client.supabase.realtime.disconnect()
    const second = new Member(client, newTag())
    const changes = second.changes({ table, filter: `tag=eq.${tag}` })
    await second.watch()
    const row = await item(tag, 'again')
    assert.deepEqual((await changes.next()).new, row)
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Broadcast } from '../src/member.ts'
import { Member } from '../src/member.ts'
import { anonymous, newTag, newUsers, ok, service, signedIn } from '../src/project.ts'

const [ann] = await newUsers(1)
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const sendFromDatabase = async (payload: object, event: string, topic: string, isPrivate = true) => {
  assert.equal((await service.rpc('conformance_send', { payload, event, topic, private: isPrivate })).error, null)
}

// plain checks the id that the database gives to a message, and leaves it out.
function plain({ meta, payload, ...rest }: Broadcast): object {
  const { id, ...members } = payload as Record<string, unknown>
  assert.match(meta!.id, uuid)
  assert.equal(id, meta!.id)
  return { ...rest, payload: members }
}

describe('broadcast from the database', { concurrency: true }, () => {
  test('reaches a private channel with its id', async (t) => {
    const topic = `conformance:room:${newTag()}`
    const member = new Member(await signedIn(t, ann!), topic, { private: true, broadcast: { replication_ready: true } })
    const heard = member.broadcasts()
    await member.join()
    assert.equal((await member.systems.next()).message, 'Replication connection established')
    await sendFromDatabase({ n: 1 }, 'sent', topic)
    await sendFromDatabase({ n: 2, id: 'mine' }, 'sent', topic)
    assert.deepEqual(plain(await heard.next()), { type: 'broadcast', event: 'sent', payload: { n: 1 } })
    const second = await heard.next()
    assert.deepEqual(second.payload, { n: 2, id: 'mine' }, 'an id that is there stays')
    assert.match(second.meta!.id, uuid)
  })

  test('reaches a public channel if it is public', async (t) => {
    const topic = `conformance:room:${newTag()}`
    const member = new Member(anonymous(t), topic, { broadcast: { replication_ready: true } })
    const heard = member.broadcasts()
    await member.join()
    await member.systems.next()
    await sendFromDatabase({}, 'private', topic)
    await sendFromDatabase({}, 'public', topic, false)
    assert.equal((await heard.next()).event, 'public')
  })

  test('carries bytes', async (t) => {
    const topic = `conformance:room:${newTag()}`
    const member = new Member(await signedIn(t, ann!), topic, { private: true, broadcast: { replication_ready: true } })
    const heard = member.broadcasts()
    await member.join()
    await member.systems.next()
    const { error } = await service.rpc('conformance_send_binary', { payload: '\\x0001fe', event: 'bytes', topic, private: true })
    assert.equal(error, null)
    const { event, payload } = await heard.next()
    assert.equal(event, 'bytes')
    assert.deepEqual(new Uint8Array(payload as ArrayBuffer), Uint8Array.of(0, 1, 254))
  })

  test('by a trigger tells of the changes of a table', async (t) => {
    const tag = newTag()
    t.after(async () => ok(await service.from('conformance_moves').delete().eq('tag', tag).select()))
    const topic = `conformance:room:${tag}`
    const member = new Member(await signedIn(t, ann!), topic, { private: true, broadcast: { replication_ready: true } })
    const heard = member.broadcasts()
    await member.join()
    await member.systems.next()
    const [row] = ok(await service.from('conformance_moves').insert({ tag, x: 1, code: 'ab' }).select())
    ok(await service.from('conformance_moves').update({ x: 2 }).eq('id', row.id).select())
    ok(await service.from('conformance_moves').delete().eq('id', row.id).select())
    const common = { schema: 'public', table: 'conformance_moves' }
    const moved = { ...row, x: 2 }
    assert.equal(row.code, 'ab   ', 'which postgres_changes would cut')
    assert.deepEqual((await heard.take(3)).map(plain), [
      { type: 'broadcast', event: 'INSERT', payload: { ...common, operation: 'INSERT', record: row, old_record: null } },
      { type: 'broadcast', event: 'UPDATE', payload: { ...common, operation: 'UPDATE', record: moved, old_record: row } },
      { type: 'broadcast', event: 'DELETE', payload: { ...common, operation: 'DELETE', record: null, old_record: moved } },
    ])
  })
})

describe('replay', { concurrency: true }, () => {
  const replayed = async (t: Parameters<typeof signedIn>[0], topic: string, since: number, limit?: number) => {
    const member = new Member(await signedIn(t, ann!), topic, { private: true, broadcast: { replay: { since, limit }, replication_ready: true } })
    const heard = member.broadcasts()
    await member.join()
    await member.systems.next()
    await sendFromDatabase({}, 'end', topic)
    return heard.until((m) => m.event === 'end' && !m.meta?.replayed)
  }

  test('gives the newest messages since a time, the oldest first, before what is new', async (t) => {
    const topic = `conformance:room:${newTag()}`
    // Clocks differ: what is replayed is told apart by its topic.
    const since = Date.now() - 60_000
    for (let n = 1; n <= 5; n++) await sendFromDatabase({ n }, 'sent', topic)
    await sendFromDatabase({ n: 6 }, 'public', topic, false)
    const got = await replayed(t, topic, since, 3)
    assert.deepEqual(got.map((m) => [m.event, (m.payload as any).n, m.meta!.replayed]), [
      ['sent', 3, true], ['sent', 4, true], ['sent', 5, true], ['end', undefined, undefined],
    ])
    assert.ok(got.every((m) => uuid.test(m.meta!.id) && (m.payload as any).id === m.meta!.id))
    assert.equal(new Set(got.map((m) => m.meta!.id)).size, 4)
  })

  test('gives 25 messages at most', async (t) => {
    const topic = `conformance:room:${newTag()}`
    const since = Date.now() - 60_000
    for (let n = 1; n <= 27; n++) await sendFromDatabase({ n }, 'sent', topic)
    const got = await replayed(t, topic, since)
    assert.deepEqual(got.slice(0, -1).map((m) => (m.payload as any).n), Array.from({ length: 25 }, (_, n) => n + 3))
  })

  test('gives nothing of what is older', async (t) => {
    const topic = `conformance:room:${newTag()}`
    await sendFromDatabase({ n: 1 }, 'sent', topic)
    assert.equal((await replayed(t, topic, Date.now() + 600_000)).length, 1)
  })

  test('gives nothing of what clients have sent', async (t) => {
    const topic = `conformance:room:${newTag()}`
    const since = Date.now() - 60_000
    const sender = await new Member(await signedIn(t, ann!), topic, { private: true, broadcast: { ack: true } }).join()
    assert.equal(await sender.channel.send({ type: 'broadcast', event: 'sent', payload: {} }), 'ok')
    assert.equal((await replayed(t, topic, since)).length, 1)
  })
})

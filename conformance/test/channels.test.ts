import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Member } from '../src/member.ts'
import { anonymous, keyed, newTag, newUsers, ok, service, signedIn } from '../src/project.ts'

const [ann, ben] = await newUsers(2)

// refused joins a channel that may not be joined and returns why.
async function refused(member: Member): Promise<string | undefined> {
  member.subscribe()
  const { status, message } = await member.statuses.next()
  assert.equal(status, 'CHANNEL_ERROR')
  await member.channel.unsubscribe()
  return message
}

const unauthorized = (topic: string) => `Unauthorized: You do not have permissions to read from this Channel topic: ${topic}`

describe('channels', { concurrency: true }, () => {
  test('anybody joins a public channel', async (t) => {
    await new Member(anonymous(t), newTag()).join()
  })

  test('a private channel is joined by those whom a policy lets in', async (t) => {
    const topic = `conformance:room:${newTag()}`
    await new Member(await signedIn(t, ann!), topic, { private: true }).join()
    assert.equal(await refused(new Member(anonymous(t), topic, { private: true })), unauthorized(topic))
  })

  test('a policy tells users apart', async (t) => {
    const topic = `conformance:user:${ann!.id}`
    await new Member(await signedIn(t, ann!), topic, { private: true }).join()
    assert.equal(await refused(new Member(await signedIn(t, ben!), topic, { private: true })), unauthorized(topic))
  })

  test('a private channel without a policy is joined by nobody', async (t) => {
    const topic = `conformance:closed:${newTag()}`
    assert.equal(await refused(new Member(await signedIn(t, ann!), topic, { private: true })), unauthorized(topic))
  })

  test('a public channel of that name is another one', async (t) => {
    await new Member(anonymous(t), `conformance:closed:${newTag()}`).join()
  })

  test('a refused join leaves the other channels of the socket alone', async (t) => {
    const client = await signedIn(t, ann!)
    const member = await new Member(client, `conformance:room:${newTag()}`, { private: true }).join()
    await refused(new Member(client, `conformance:closed:${newTag()}`, { private: true }))
    assert.equal(member.channel.state, 'joined')
    assert.deepEqual(member.statuses.rest(), [])
    assert.equal(client.sockets.urls.length, 1, 'one socket')
  })

  test('a channel is left', async (t) => {
    const client = anonymous(t)
    const member = await new Member(client, newTag()).join()
    assert.equal(await member.channel.unsubscribe(), 'ok')
    assert.equal((await member.statuses.next()).status, 'CLOSED')
    assert.deepEqual(client.supabase.getChannels(), [])
  })

  test('a channel that was left is joined again', async (t) => {
    const client = anonymous(t)
    const topic = newTag()
    const first = await new Member(client, topic).join()
    await client.supabase.removeChannel(first.channel)
    const second = await new Member(client, topic).join()
    assert.notEqual(second.channel, first.channel)
    assert.equal(second.channel.state, 'joined')
  })

  test('a key that is none opens no socket', async (t) => {
    const member = new Member(keyed(t, 'none'), newTag())
    member.subscribe()
    assert.equal((await member.statuses.next()).status, 'CHANNEL_ERROR')
  })

  test('one channel carries changes, broadcasts and presence', async (t) => {
    const tag = newTag()
    t.after(async () => ok(await service.from('conformance_notes').delete().eq('tag', tag).select()))
    const config = { private: true, broadcast: { self: true, ack: true }, presence: { key: 'ann' } }
    const member = new Member(await signedIn(t, ann!), `conformance:room:${tag}`, config)
    const changes = member.changes({ table: 'conformance_notes', event: 'INSERT' })
    const [heard, seen] = [member.broadcasts(), member.presences()]
    await member.watch()
    assert.equal(await member.channel.track({ at: 'desk' }), 'ok')
    assert.equal((await seen.until((p) => p.event === 'join')).at(-1)!.key, 'ann')
    assert.equal(await member.channel.send({ type: 'broadcast', event: 'hello', payload: { n: 1 } }), 'ok')
    assert.deepEqual(await heard.next(), { type: 'broadcast', event: 'hello', payload: { n: 1 } })
    const [row] = ok(await service.from('conformance_notes').insert({ tag, owner: ann!.id, body: 'x' }).select())
    assert.deepEqual((await changes.until((c) => c.new.tag === tag)).at(-1)!.new, row)
  })

  test('both versions of the protocol are spoken', async (t) => {
    for (const vsn of ['1.0.0', '2.0.0']) {
      const client = anonymous(t, { vsn })
      await new Member(client, newTag()).join()
      assert.match(client.sockets.urls[0]!, new RegExp(`vsn=${vsn}`))
    }
  })
})

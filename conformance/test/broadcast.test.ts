import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { Member } from '../src/member.ts'
import { anonymous, newTag, newUsers, signedIn, type Client } from '../src/project.ts'

const [ann, ben] = await newUsers(2)

type Config = ConstructorParameters<typeof Member>[2]

// pair joins one topic from two clients, the first of which sends. It hears
// itself only if self says so.
async function pair(t: TestContext, config: Config = {}, vsn?: { vsn: string }) {
  const topic = newTag()
  const sender = new Member(anonymous(t, vsn), topic, config)
  const receiver = new Member(anonymous(t, vsn), topic)
  const heard = receiver.broadcasts()
  const echoes = sender.broadcasts()
  await sender.join()
  await receiver.join()
  return { topic, sender, receiver, heard, echoes }
}

const send = (member: Member, event: string, payload: unknown) => member.channel.send({ type: 'broadcast', event, payload })
// Over the socket the client takes an ArrayBuffer for bytes, and a view of one for JSON.
const bytes = Uint8Array.of(0, 1, 2, 254, 255)

describe('broadcast', { concurrency: true }, () => {
  test('goes to everybody on the topic but the sender, in order', async (t) => {
    const { sender, heard, echoes } = await pair(t)
    for (let n = 0; n < 10; n++) assert.equal(await send(sender, 'count', { n }), 'ok')
    assert.deepEqual(await heard.take(10), Array.from({ length: 10 }, (_, n) => ({ type: 'broadcast', event: 'count', payload: { n } })))
    assert.deepEqual(echoes.rest(), [])
  })

  test('with self comes back to the sender, and with ack is answered after that', async (t) => {
    const { sender, heard, echoes } = await pair(t, { broadcast: { self: true, ack: true } })
    assert.equal(await send(sender, 'hello', { text: 'naïve ☃' }), 'ok')
    const want = { type: 'broadcast', event: 'hello', payload: { text: 'naïve ☃' } }
    assert.deepEqual(echoes.rest(), [want], 'before the answer')
    assert.deepEqual(await heard.next(), want)
  })

  test('is heard by those who listen for its event', async (t) => {
    const topic = newTag()
    const sender = await new Member(anonymous(t), topic).join()
    const receiver = new Member(anonymous(t), topic)
    const [all, ones] = [receiver.broadcasts(), receiver.broadcasts('one')]
    await receiver.join()
    for (const event of ['two', 'one', 'three']) await send(sender, event, {})
    assert.deepEqual((await all!.take(3)).map((m) => m.event), ['two', 'one', 'three'])
    assert.deepEqual(ones!.rest().map((m) => m.event), ['one'])
  })

  test('carries bytes', async (t) => {
    const { sender, heard } = await pair(t, { broadcast: { ack: true } })
    assert.equal(await send(sender, 'bytes', bytes.buffer), 'ok')
    const { event, payload } = await heard.next()
    assert.equal(event, 'bytes')
    assert.deepEqual(new Uint8Array(payload as ArrayBuffer), bytes)
  })

  test('reaches clients of both versions of the protocol', async (t) => {
    const topic = newTag()
    const [first, second] = ['1.0.0', '2.0.0'].map((vsn) => new Member(anonymous(t, { vsn }), topic, { broadcast: { self: true, ack: true } }))
    const [ones, twos] = [first!.broadcasts(), second!.broadcasts()]
    await first!.join()
    await second!.join()
    assert.equal(await send(first!, 'from 1', { n: 1 }), 'ok')
    assert.equal(await send(second!, 'bytes from 2', bytes.buffer), 'ok', 'which only those of 2.0.0 get')
    assert.equal(await send(second!, 'from 2', { n: 2 }), 'ok')
    assert.deepEqual((await ones!.take(2)).map((m) => [m.event, m.payload]), [['from 1', { n: 1 }], ['from 2', { n: 2 }]])
    assert.deepEqual((await twos!.take(3)).map((m) => m.event), ['from 1', 'bytes from 2', 'from 2'])
  })

  test('keeps topics, and public and private ones of one name, apart', async (t) => {
    const topic = `conformance:room:${newTag()}`
    const client = await signedIn(t, ann!)
    const members = [
      new Member(client, topic, { private: true }), new Member(await signedIn(t, ben!), topic, { private: true }),
      new Member(anonymous(t), topic), new Member(anonymous(t), topic), new Member(anonymous(t), newTag()),
    ]
    const [, privately, , publicly, elsewhere] = members.map((member) => member.broadcasts())
    for (const member of members) await member.join()
    await send(members[0]!, 'private', {})
    await send(members[2]!, 'public', {})
    assert.equal((await privately!.next()).event, 'private')
    assert.equal((await publicly!.next()).event, 'public')
    for (const inbox of [privately, publicly, elsewhere]) assert.deepEqual(inbox!.rest(), [])
  })

  test('on a channel that may be read but not written goes nowhere, and is not answered', async (t) => {
    const topic = `conformance:readonly:${newTag()}`
    const sender = new Member(await signedIn(t, ann!), topic, { private: true, broadcast: { ack: true } })
    const receiver = new Member(await signedIn(t, ben!), topic, { private: true })
    const heard = receiver.broadcasts()
    await sender.join()
    await receiver.join()
    assert.equal(await sender.channel.send({ type: 'broadcast', event: 'refused', payload: {} }, { timeout: 2000 }), 'timed out')
    assert.deepEqual(heard.rest(), [])
    assert.equal(sender.channel.state, 'joined')
  })

  test('that is too large is answered with an error, and goes nowhere', async (t) => {
    const { sender, heard } = await pair(t, { broadcast: { ack: true } })
    assert.equal(await send(sender, 'large', { text: 'x'.repeat(3_200_000) }), 'error')
    assert.equal(await send(sender, 'small', {}), 'ok')
    assert.equal((await heard.next()).event, 'small')
  })
})

describe('broadcast over HTTP', { concurrency: true }, () => {
  const listener = async (client: Client, topic: string, config: Config = {}) => {
    const member = new Member(client, topic, config)
    const heard = member.broadcasts()
    await member.join()
    return heard
  }

  test('reaches a public topic', async (t) => {
    const topic = newTag()
    const heard = await listener(anonymous(t), topic)
    const channel = anonymous(t).supabase.channel(topic)
    assert.deepEqual(await channel.httpSend('hello', { n: 1 }), { success: true })
    assert.deepEqual(await channel.httpSend('bytes', bytes), { success: true })
    assert.deepEqual(await heard.next(), { type: 'broadcast', event: 'hello', payload: { n: 1 } })
    assert.deepEqual(new Uint8Array((await heard.next()).payload as ArrayBuffer), bytes)
  })

  test('reaches a private topic if a policy lets the sender write', async (t) => {
    const topic = `conformance:room:${newTag()}`
    const heard = await listener(await signedIn(t, ann!), topic, { private: true })
    const channel = (await signedIn(t, ben!)).supabase.channel(topic, { config: { private: true } })
    assert.deepEqual(await channel.httpSend('hello', { n: 1 }), { success: true })
    assert.deepEqual((await heard.next()).payload, { n: 1 })
    await assert.rejects(anonymous(t).supabase.channel(topic, { config: { private: true } }).httpSend('refused', {}), { message: 'Unauthorized' })
    assert.deepEqual(heard.rest(), [])
  })

  test('is what sending on a channel that is not joined is', async (t) => {
    const topic = newTag()
    const heard = await listener(anonymous(t), topic)
    assert.equal(await anonymous(t).supabase.channel(topic).send({ type: 'broadcast', event: 'early', payload: { n: 1 } }), 'ok')
    assert.deepEqual(await heard.next(), { type: 'broadcast', event: 'early', payload: { n: 1 } })
  })
})

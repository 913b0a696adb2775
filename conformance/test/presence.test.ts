import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Member } from '../src/member.ts'
import { anonymous, newTag, newUsers, signedIn } from '../src/project.ts'

const [ann, ben] = await newUsers(2)

// metas is the state of a channel without the refs that the server gives.
const metas = (member: Member) => Object.fromEntries(Object.entries(member.channel.presenceState()).map(
  ([key, list]) => [key, list.map(({ presence_ref, ...meta }) => (assert.equal(typeof presence_ref, 'string'), meta))]))

describe('presence', { concurrency: true }, () => {
  test('two clients see each other come, change and go', async (t) => {
    const topic = `conformance:room:${newTag()}`
    const anns = new Member(await signedIn(t, ann!), topic, { private: true, presence: { key: 'ann' } })
    const bens = new Member(await signedIn(t, ben!), topic, { private: true, presence: { key: 'ben' } })
    const [seenByAnn, seenByBen] = [anns.presences(), bens.presences()]
    await anns.join()
    await seenByAnn.until((p) => p.event === 'sync')
    assert.equal(await anns.channel.track({ at: 'desk' }), 'ok')
    await seenByAnn.until((p) => p.event === 'join' && p.key === 'ann')

    await bens.join()
    await seenByBen.until((p) => p.event === 'sync')
    assert.deepEqual(metas(bens), { ann: [{ at: 'desk' }] }, 'who was there first is in the first state')
    assert.equal(await bens.channel.track({ at: 'door' }), 'ok')
    const joined = (await seenByAnn.until((p) => p.event === 'join')).at(-1)!
    assert.equal(joined.key, 'ben')
    assert.equal(joined.newPresences![0]!.at, 'door')
    await seenByAnn.until((p) => p.event === 'sync')
    assert.deepEqual(metas(anns), { ann: [{ at: 'desk' }], ben: [{ at: 'door' }] })

    assert.equal(await bens.channel.track({ at: 'window' }), 'ok')
    await seenByAnn.until((p) => p.event === 'sync')
    assert.deepEqual(metas(anns), { ann: [{ at: 'desk' }], ben: [{ at: 'window' }] })

    assert.equal(await bens.channel.untrack(), 'ok')
    const left = (await seenByAnn.until((p) => p.event === 'leave' && p.leftPresences![0]!.at === 'window')).at(-1)!
    assert.equal(left.key, 'ben')
    await seenByAnn.until((p) => p.event === 'sync')
    assert.deepEqual(metas(anns), { ann: [{ at: 'desk' }] })
  })

  test('who leaves the channel, or loses the connection, goes', async (t) => {
    const topic = newTag()
    const watcher = new Member(anonymous(t), topic)
    const seen = watcher.presences()
    await watcher.join()
    const leaver = await new Member(anonymous(t), topic, { presence: { key: 'leaver' } }).join()
    const client = anonymous(t)
    const loser = await new Member(client, topic, { presence: { key: 'loser' } }).join()
    await leaver.channel.track({})
    await loser.channel.track({})
    await seen.until((p) => p.event === 'join' && p.key === 'loser')
    await leaver.channel.unsubscribe()
    await seen.until((p) => p.event === 'leave' && p.key === 'leaver')
    client.sockets.cut()
    await seen.until((p) => p.event === 'leave' && p.key === 'loser')
    await seen.until((p) => p.event === 'sync')
    assert.deepEqual(metas(watcher), {})
  })

  test('one key of two channels has two entries', async (t) => {
    const topic = newTag()
    const members = [1, 2].map(() => new Member(anonymous(t), topic, { presence: { key: 'same' } }))
    const seen = members[0]!.presences()
    for (const member of members) await member.join()
    await members[0]!.channel.track({ n: 1 })
    await members[1]!.channel.track({ n: 2 })
    await seen.until((p) => p.event === 'join' && p.newPresences!.some((m) => m.n === 2))
    await seen.until((p) => p.event === 'sync')
    assert.deepEqual(metas(members[0]!), { same: [{ n: 1 }, { n: 2 }] })
  })

  test('without a key the server makes one', async (t) => {
    const member = new Member(anonymous(t), newTag())
    const seen = member.presences()
    await member.join()
    await member.channel.track({ n: 1 })
    const { key } = (await seen.until((p) => p.event === 'join')).at(-1)!
    assert.match(key!, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  })

  test('who may read a private channel but not write is not seen', async (t) => {
    const topic = `conformance:readonly:${newTag()}`
    const member = new Member(await signedIn(t, ann!), topic, { private: true, presence: { key: 'ann' } })
    const seen = member.presences()
    await member.join()
    await seen.until((p) => p.event === 'sync')
    assert.equal(await member.channel.track({}), 'error')
    assert.deepEqual(metas(member), {})
  })

  test('who tracks too often within half a minute is thrown out', async (t) => {
    const member = await new Member(anonymous(t), newTag()).join()
    for (let n = 1; n <= 5; n++) assert.equal(await member.channel.track({ n }), 'ok')
    void member.channel.track({ n: 6 })
    const { extension, status, message } = await member.systems.next()
    assert.deepEqual([extension, status, message], ['system', 'error', 'Client presence rate limit exceeded'])
    assert.equal((await member.statuses.next()).status, 'CLOSED')
  })
})

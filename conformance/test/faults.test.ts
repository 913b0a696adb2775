import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { fault, needsFaults, socketOf } from '../src/faults.ts'
import type { Inbox } from '../src/inbox.ts'
import { Member, type Change } from '../src/member.ts'
import { newTag, newUsers, ok, service, signedIn, type Client } from '../src/project.ts'

const [ann] = await newUsers(1)
const table = 'conformance_items'

// Follower is a client with one channel that follows the rows of one tag, whose
// name the channel has.
type Follower = { tag: string; client: Client; member: Member; changes: Inbox<Change> }

async function follow(t: TestContext, realtime?: object): Promise<Follower> {
  const tag = newTag()
  t.after(async () => ok(await service.from(table).delete().eq('tag', tag).select()))
  const client = await signedIn(t, ann!, realtime)
  const member = new Member(client, tag)
  const changes = member.changes({ table, filter: `tag=eq.${tag}` })
  await member.watch()
  return { tag, client, member, changes }
}

// goesOn wants a change that is made now.
async function goesOn({ tag, changes }: Follower): Promise<void> {
  const [row] = ok(await service.from(table).insert({ tag, name: 'after' }).select())
  assert.deepEqual((await changes.next()).new, row)
}

// rejoins wants the channel to fail and to come back.
async function rejoins({ member }: Follower): Promise<void> {
  await member.statuses.until((s) => s.status === 'CHANNEL_ERROR')
  await member.statuses.until((s) => s.status === 'SUBSCRIBED')
  await member.systems.until((s) => s.message === 'Subscribed to PostgreSQL')
}

describe('faults of the server', { concurrency: true, skip: needsFaults }, () => {
  test('a socket that it kills is made again', async (t) => {
    const follower = await follow(t)
    await fault('kill-sockets', { socket: await socketOf(follower.tag) })
    await rejoins(follower)
    assert.equal(follower.client.sockets.urls.length, 2)
    await goesOn(follower)
  })

  for (const code of [1000, 1001, 1011, 1012]) {
    test(`a socket that it closes with ${code} is made again`, async (t) => {
      const follower = await follow(t)
      await fault('close-sockets', { socket: await socketOf(follower.tag), code })
      await rejoins(follower)
      await goesOn(follower)
    })
  }

  test('a channel that crashes is joined again on the same socket', async (t) => {
    const follower = await follow(t)
    await fault('crash-channels', { topic: `realtime:${follower.tag}` })
    await rejoins(follower)
    assert.equal(follower.client.sockets.urls.length, 1)
    await goesOn(follower)
  })

  test('a channel that it closes says why, and stays closed', async (t) => {
    const { tag, member, client } = await follow(t)
    await fault('close-channels', { topic: `realtime:${tag}`, message: 'Too many messages per second' })
    const { extension, status, message, channel } = await member.systems.next()
    assert.deepEqual([extension, status, message, channel], ['system', 'error', 'Too many messages per second', tag])
    assert.equal((await member.statuses.next()).status, 'CLOSED')
    assert.ok(client.supabase.realtime.isConnected())
  })

  test('a socket that is held up is found to be dead, and made again', async (t) => {
    const follower = await follow(t, { heartbeatIntervalMs: 1000 })
    await fault('block-sockets', { socket: await socketOf(follower.tag), for: '20s' })
    await rejoins(follower)
    assert.equal(follower.client.sockets.urls.length, 2)
    await goesOn(follower)
  })
})

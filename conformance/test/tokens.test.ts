import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { Member } from '../src/member.ts'
import { anonymous, needsSecret, newTag, newUsers, ok, service, signedIn, userToken, withTokens, type User } from '../src/project.ts'

const [ann, ben] = await newUsers(2)
const table = 'conformance_notes'

function tagged(t: TestContext): string {
  const tag = newTag()
  t.after(async () => ok(await service.from(table).delete().eq('tag', tag).select()))
  return tag
}

const note = async (tag: string, owner: User, body: string) => ok(await service.from(table).insert({ tag, owner: owner.id, body }).select())[0]

describe('tokens', { concurrency: true }, () => {
  test('a refreshed one subscribes again, and changes go on', async (t) => {
    const tag = tagged(t)
    const client = await signedIn(t, ann!)
    const member = new Member(client, `conformance:room:${tag}`, { private: true })
    const changes = member.changes({ table, event: 'INSERT' })
    await member.watch()
    const first = await note(tag, ann!, 'before')
    assert.deepEqual((await changes.until((c) => c.new.tag === tag)).at(-1)!.new, first)

    const { session } = ok(await client.supabase.auth.refreshSession())
    await member.subscribed()
    assert.equal(client.supabase.realtime.accessTokenValue, session!.access_token)
    const row = await note(tag, ann!, 'after')
    assert.deepEqual((await changes.until((c) => c.new.tag === tag)).at(-1)!.new, row)
    assert.deepEqual(member.statuses.rest(), [], 'joined all the time')
    assert.equal(client.sockets.urls.length, 1, 'over one socket')
  })

  test('another one shows what its user may see', async (t) => {
    const tag = tagged(t)
    const client = await signedIn(t, ann!)
    const member = new Member(client, newTag())
    const changes = member.changes({ table, event: 'INSERT' })
    await member.watch()
    const { session } = ok(await client.supabase.auth.signInWithPassword({ email: ben!.email, password: ben!.password }))
    assert.equal(session!.user.id, ben!.id)
    await client.supabase.realtime.setAuth()
    await member.subscribed()
    await note(tag, ann!, 'hidden')
    const row = await note(tag, ben!, 'shown')
    const got = await changes.until((c) => c.new.body === 'shown' && c.new.tag === tag)
    assert.deepEqual(got.filter((c) => c.new.tag === tag).map((c) => c.new), [row])
  })

  test('one that may not read a channel closes it', async (t) => {
    const client = await signedIn(t, ann!)
    const own = await new Member(client, `conformance:user:${ann!.id}`, { private: true }).join()
    const shared = await new Member(client, `conformance:room:${newTag()}`, { private: true }).join()
    ok(await client.supabase.auth.signInWithPassword({ email: ben!.email, password: ben!.password }))
    await client.supabase.realtime.setAuth()
    const { extension, status, message } = await own.systems.next()
    assert.deepEqual([extension, status], ['system', 'error'])
    assert.equal(message, `You do not have permissions to read from this Channel topic: conformance:user:${ann!.id}`)
    assert.equal((await own.statuses.next()).status, 'CLOSED')
    assert.equal(shared.channel.state, 'joined')
  })

  test('one that is none closes the channels, and the socket stays', async (t) => {
    const client = anonymous(t)
    const member = await new Member(client, newTag()).join()
    await client.supabase.realtime.setAuth('not.a.token')
    const { extension, status, message } = await member.systems.next()
    assert.deepEqual([extension, status, message], ['system', 'error', 'The token provided is not a valid JWT'])
    assert.equal((await member.statuses.next()).status, 'CLOSED')
    assert.ok(client.supabase.realtime.isConnected())
  })

  test('one that expires closes its channel, and the socket stays', { skip: needsSecret }, async (t) => {
    const expiring = userToken(ann!, 4)
    const client = await withTokens(t, () => expiring)
    const member = await new Member(client, `conformance:room:${newTag()}`, { private: true }).join()
    const { extension, status, message } = await member.systems.next()
    assert.deepEqual([extension, status], ['system', 'error'])
    assert.match(message, /^Token has expired \d+ seconds ago$/)
    assert.equal((await member.statuses.next()).status, 'CLOSED')
    assert.ok(client.supabase.realtime.isConnected())
  })

  test('ones that expire one after the other keep a channel for longer than any of them', { skip: needsSecret }, async (t) => {
    const tag = tagged(t)
    const began = Date.now()
    const client = await withTokens(t, () => userToken(ann!, 5), { heartbeatIntervalMs: 2000 })
    const member = new Member(client, `conformance:room:${tag}`, { private: true })
    const changes = member.changes({ table, event: 'INSERT' })
    await member.watch()
    while (Date.now() - began < 8000) await member.subscribed() // once for each token
    const row = await note(tag, ann!, 'shown')
    assert.deepEqual((await changes.until((c) => c.new.tag === tag)).at(-1)!.new, row)
    assert.deepEqual(member.statuses.rest(), [], 'joined all the time')
  })

  test('one that has expired joins nothing', { skip: needsSecret }, async (t) => {
    const expired = userToken(ann!, -10)
    const member = new Member(await withTokens(t, () => expired), newTag())
    member.subscribe()
    const { status, message } = await member.statuses.next()
    assert.equal(status, 'CHANNEL_ERROR')
    assert.match(message!, /^InvalidJWTToken: Token has expired \d+ seconds ago$/)
  })
})

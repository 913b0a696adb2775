import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { watch, type Change } from '../src/member.ts'
import { administrator, anonymous, newTag, newUsers, ok, service, signedIn } from '../src/project.ts'

const [ann, ben] = await newUsers(2)
const table = 'conformance_notes'

// of keeps the changes of some rows: everybody gets the DELETE of every row.
const of = (changes: Change[], ...rows: { id: number }[]) =>
  changes.filter((c) => rows.some((r) => r.id === (c.new.id ?? c.old.id))).map((c) => [c.eventType, c.new, c.old])

function tagged(t: TestContext): string {
  const tag = newTag()
  t.after(async () => ok(await service.from(table).delete().eq('tag', tag).select()))
  return tag
}

describe('row level security', { concurrency: true }, () => {
  test('everybody gets what they may read, and every DELETE with the key alone', async (t) => {
    const tag = tagged(t)
    const [anns, bens, services, nobodys] = [
      await watch(await signedIn(t, ann!), newTag(), { table }),
      await watch(await signedIn(t, ben!), newTag(), { table }),
      await watch(administrator(t), newTag(), { table }),
      await watch(anonymous(t), newTag(), { table }),
    ]
    // The writers are the users themselves, the first of them in a transaction.
    const client = await signedIn(t, ann!)
    const [a, b] = ok(await client.supabase.from(table).insert([{ tag, owner: ann!.id, body: 'a' }, { tag, owner: ann!.id, body: 'b' }]).select())
    const [c] = ok(await (await signedIn(t, ben!)).supabase.from(table).insert({ tag, owner: ben!.id, body: 'c' }).select())
    await services!.until((change) => change.new.id === c.id)
    // Rows are looked up when the log is read, so not until then do they go.
    ok(await service.from(table).update({ body: 'a2' }).eq('id', a.id).select())
    await anns!.until((change) => change.eventType === 'UPDATE' && change.new.id === a.id).then((got) =>
      assert.deepEqual(of(got, a, b, c), [['INSERT', a, {}], ['INSERT', b, {}], ['UPDATE', { ...a, body: 'a2' }, a]]))
    for (const { id } of [a, b, c]) ok(await service.from(table).delete().eq('id', id).select())

    const deleted = [a, b, c].map(({ id }) => ['DELETE', {}, { id }])
    const last = (change: Change) => change.eventType === 'DELETE' && change.old.id === c.id
    assert.deepEqual(of(await anns!.until(last), a, b, c), deleted)
    assert.deepEqual(of(await bens!.until(last), a, b, c), [['INSERT', c, {}], ...deleted])
    assert.deepEqual(of(await nobodys!.until(last), a, b, c), deleted)
    assert.deepEqual(of(await services!.until(last), a, b, c), [['UPDATE', { ...a, body: 'a2' }, a], ...deleted])
  })

  test('a row that is given away leaves in silence, and arrives as an UPDATE', async (t) => {
    const tag = tagged(t)
    const anns = await watch(await signedIn(t, ann!), newTag(), { table })
    const bens = await watch(await signedIn(t, ben!), newTag(), { table })
    const [row, other] = ok(await service.from(table).insert([{ tag, owner: ann!.id, body: 'x' }, { tag, owner: ann!.id, body: 'y' }]).select())
    await anns.until((c) => c.new.id === other.id)
    const given = { ...row, owner: ben!.id }
    ok(await service.from(table).update({ owner: ben!.id }).eq('id', row.id).select())
    const got = await bens.until((c) => c.new.id === row.id)
    assert.deepEqual(of(got, row, other), [['UPDATE', given, row]])
    ok(await service.from(table).update({ body: 'z' }).eq('id', other.id).select())
    assert.deepEqual(of(await anns.until((c) => c.new.body === 'z'), row, other), [['UPDATE', { ...other, body: 'z' }, other]])
  })

  test('a filter and a policy both hold', async (t) => {
    const tag = tagged(t)
    const changes = await watch(await signedIn(t, ann!), newTag(), { table, event: 'INSERT', filter: `tag=eq.${tag},body=eq.mine` })
    const [, , mine] = ok(await service.from(table).insert([
      { tag, owner: ann!.id, body: 'other' }, { tag, owner: ben!.id, body: 'mine' }, { tag, owner: ann!.id, body: 'mine' },
    ]).select())
    assert.deepEqual((await changes.next()).new, mine)
    assert.deepEqual(changes.rest(), [])
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { anonymous, newTag, newUsers, ok, service, signedIn } from '../src/project.ts'

const [ann, ben] = await newUsers(2)

describe('sign-in', { concurrency: true }, () => {
  test('a password gives a session of the user', async (t) => {
    const { supabase } = anonymous(t)
    const { session, user } = ok(await supabase.auth.signInWithPassword({ email: ann!.email, password: ann!.password }))
    assert.equal(user!.id, ann!.id)
    assert.equal(user!.email, ann!.email)
    assert.equal(session!.token_type, 'bearer')
    const { user: known } = ok(await supabase.auth.getUser())
    assert.equal(known!.id, ann!.id)
  })

  test('a wrong password gives none', async (t) => {
    const { error, data } = await anonymous(t).supabase.auth.signInWithPassword({ email: ann!.email, password: 'wrong' })
    assert.equal(error?.code, 'invalid_credentials')
    assert.equal(error?.status, 400)
    assert.equal(data.session, null)
  })

  test('a session is refreshed with another token', async (t) => {
    const { supabase } = await signedIn(t, ann!)
    const before = ok(await supabase.auth.getSession()).session!
    const after = ok(await supabase.auth.refreshSession()).session!
    assert.notEqual(after.access_token, before.access_token)
    assert.notEqual(after.refresh_token, before.refresh_token)
    assert.equal(after.user.id, ann!.id)
  })

  test('signing out ends the session', async (t) => {
    const { supabase } = await signedIn(t, ann!)
    const { refresh_token } = ok(await supabase.auth.getSession()).session!
    assert.equal((await supabase.auth.signOut({ scope: 'local' })).error, null)
    const { error } = await supabase.auth.refreshSession({ refresh_token })
    assert.equal(error?.code, 'refresh_token_not_found')
  })

  test('a user reads and writes rows of their own alone', async (t) => {
    const tag = newTag()
    const notes = (await signedIn(t, ann!)).supabase.from('conformance_notes')
    ok(await service.from('conformance_notes').insert({ tag, owner: ben!.id, body: 'of Ben' }).select())
    ok(await notes.insert({ tag, owner: ann!.id, body: 'of Ann' }).select())
    assert.deepEqual(ok(await notes.select('body').eq('tag', tag)), [{ body: 'of Ann' }])
    assert.equal((await notes.insert({ tag, owner: ben!.id, body: 'forged' })).error?.code, '42501')
    assert.deepEqual(ok(await notes.update({ body: 'changed' }).eq('tag', tag).select('body')), [{ body: 'changed' }])
    assert.deepEqual(ok(await anonymous(t).supabase.from('conformance_notes').select().eq('tag', tag)), [])
    assert.equal(ok(await service.from('conformance_notes').delete().eq('tag', tag).select()).length, 2)
  })
})

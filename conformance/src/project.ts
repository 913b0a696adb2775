import { createHmac, randomUUID } from 'node:crypto'
import { after, type TestContext } from 'node:test'
import { createClient, type RealtimeClientOptions, type SupabaseClient } from '@supabase/supabase-js'
import { PATIENCE_MS } from './inbox.ts'
import { Sockets } from './sockets.ts'

function setting(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: see README.md`)
  return value
}

export const url = setting('SUPABASE_URL')
const anonKey = setting('SUPABASE_ANON_KEY')
const serviceKey = setting('SUPABASE_SERVICE_KEY')

// The secret that tokens are signed with. A project whose tokens are signed
// with a private key has none to give, and what needs one is skipped there.
export const jwtSecret = process.env.SUPABASE_JWT_SECRET
export const needsSecret = jwtSecret ? false : 'SUPABASE_JWT_SECRET is not set, so no token that expires soon can be made'

export type User = { id: string; email: string; password: string }

export type Client = { supabase: SupabaseClient; sockets: Sockets }

function open(key: string, realtime: RealtimeClientOptions = {}, accessToken?: () => Promise<string>): Client {
  const sockets = new Sockets()
  const supabase = createClient(url, key, {
    accessToken,
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false },
    realtime: { transport: sockets.transport, timeout: PATIENCE_MS, logger: () => {}, ...realtime },
  })
  return { supabase, sockets }
}

// service is a client that no policy holds up, for what a test does behind the
// backs of its users. It has no socket.
export const service = open(serviceKey).supabase

// A test's clients are closed when it ends. Without a test the caller does it.
function closing(t: TestContext | undefined, client: Client): Client {
  t?.after(() => client.supabase.realtime.disconnect())
  return client
}

// anonymous returns a client with the public key and nothing else.
export function anonymous(t: TestContext, realtime?: RealtimeClientOptions): Client {
  return closing(t, open(anonKey, realtime))
}

// keyed returns a client with a key that may be none.
export function keyed(t: TestContext, key: string): Client {
  return closing(t, open(key))
}

// withTokens returns a client whose application sees to tokens: it is asked for
// one at every heartbeat.
export async function withTokens(t: TestContext, token: () => string, realtime?: RealtimeClientOptions): Promise<Client> {
  const client = closing(t, open(anonKey, realtime, async () => token()))
  await client.supabase.realtime.setAuth()
  return client
}

// administrator returns a client with the service key.
export function administrator(t: TestContext): Client {
  return closing(t, open(serviceKey))
}

// signedIn returns the client of a user.
export async function signedIn(t: TestContext | undefined, user: User, realtime?: RealtimeClientOptions): Promise<Client> {
  const client = closing(t, open(anonKey, realtime))
  ok(await client.supabase.auth.signInWithPassword({ email: user.email, password: user.password }))
  // The first join does not wait for the token that comes of signing in.
  await client.supabase.realtime.setAuth()
  return client
}

// newUsers makes users for the tests of a file, and removes them after it.
export async function newUsers(count: number): Promise<User[]> {
  const users = await Promise.all(Array.from({ length: count }, async () => {
    const credentials = { email: `conformance-${randomUUID()}@example.com`, password: randomUUID() }
    const { user } = ok(await service.auth.admin.createUser({ ...credentials, email_confirm: true }))
    return { id: user!.id, ...credentials }
  }))
  after(async () => {
    for (const { id } of users) ok(await service.auth.admin.deleteUser(id))
  })
  return users
}

// ok returns the data of an answer that must not be an error.
export function ok<A extends { data: unknown; error: unknown }>(answer: A): NonNullable<Extract<A, { error: null }>['data']> {
  if (answer.error) throw answer.error
  return answer.data!
}

// newTag returns what marks the rows and topics of one test.
export const newTag = (): string => randomUUID()

// token signs claims as the project does.
export function token(claims: Record<string, unknown>): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
  return `${signed}.${createHmac('sha256', jwtSecret!).update(signed).digest('base64url')}`
}

// userToken returns a token of a user that expires in so many seconds.
export function userToken(user: User, seconds: number): string {
  const now = Math.floor(Date.now() / 1000)
  return token({ sub: user.id, role: 'authenticated', aud: 'authenticated', iat: now, exp: now + seconds })
}

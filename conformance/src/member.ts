import { REALTIME_SUBSCRIBE_STATES } from '@supabase/supabase-js'
import type {
  RealtimeChannel, RealtimeChannelOptions, RealtimePostgresChangesFilter, RealtimePostgresInsertPayload, RealtimeSystemPayload,
} from '@supabase/supabase-js'
import { Inbox } from './inbox.ts'
import type { Client } from './project.ts'

export type Row = Record<string, any>
// Change is RealtimePostgresChangesPayload, with rows that a test may look into.
export type Change = Omit<RealtimePostgresInsertPayload<Row>, 'eventType' | 'new' | 'old'> & { eventType: string; new: Row; old: Row }
export type Status = { status: string; message?: string }

// A Binding leaves out what has a usual value: all events of the schema public.
export type Binding = { event?: string; schema?: string; table?: string; filter?: RealtimePostgresChangesFilter<'*'>['filter']; select?: string[] }

export type Broadcast = { type: string; event: string; payload: unknown; meta?: { id: string; replayed?: boolean } }

export type Presence = { event: string; key?: string; newPresences?: Row[]; leftPresences?: Row[] }

// Member is a channel of a client and what came on it.
export class Member {
  readonly channel: RealtimeChannel
  readonly statuses: Inbox<Status>
  readonly systems: Inbox<RealtimeSystemPayload>

  constructor(client: Client, topic: string, config: RealtimeChannelOptions['config'] = {}) {
    this.channel = client.supabase.channel(topic, { config })
    this.statuses = new Inbox(`statuses of ${topic}`)
    this.systems = new Inbox(`system messages of ${topic}`)
    this.channel.on('system', {}, this.systems.put)
  }

  // changes adds a binding. It must be called before join.
  changes(binding: Binding): Inbox<Change> {
    const inbox = new Inbox<Change>(`changes of ${JSON.stringify(binding)}`)
    this.channel.on('postgres_changes', { event: '*', schema: 'public', ...binding } as RealtimePostgresChangesFilter<'*'>, (change) => inbox.put(change))
    return inbox
  }

  // broadcasts listens for broadcasts of an event, as they are given.
  broadcasts(event = '*'): Inbox<Broadcast> {
    const inbox = new Inbox<Broadcast>(`broadcasts of ${this.channel.topic}`)
    this.channel.on('broadcast', { event }, (message) => inbox.put(message as unknown as Broadcast))
    return inbox
  }

  // presences asks for presence. It must be called before join.
  presences(): Inbox<Presence> {
    const inbox = new Inbox<Presence>(`presence of ${this.channel.topic}`)
    this.channel.on('presence', { event: 'sync' }, () => inbox.put({ event: 'sync' }))
    this.channel.on('presence', { event: 'join' }, (payload) => inbox.put(payload))
    this.channel.on('presence', { event: 'leave' }, (payload) => inbox.put(payload))
    return inbox
  }

  subscribe(): void {
    this.channel.subscribe((status, error) => this.statuses.put({ status, message: error?.message }))
  }

  // join returns when the channel has been joined.
  async join(): Promise<this> {
    this.subscribe()
    const got = await this.statuses.next()
    if (got.status !== REALTIME_SUBSCRIBE_STATES.SUBSCRIBED) {
      throw new Error(`joining ${this.channel.topic}: ${got.status} ${got.message}`)
    }
    return this
  }

  // watch returns when changes come.
  async watch(): Promise<this> {
    await this.join()
    await this.subscribed()
    return this
  }

  // subscribed returns at the next message that says that changes come.
  async subscribed(): Promise<void> {
    const got = await this.systems.next()
    if (got.status !== 'ok' || got.message !== 'Subscribed to PostgreSQL') {
      throw new Error(`subscribing on ${this.channel.topic}: ${got.message}`)
    }
  }
}

// watch joins a channel with one binding.
export async function watch(client: Client, topic: string, binding: Binding): Promise<Inbox<Change>> {
  const member = new Member(client, topic)
  const changes = member.changes(binding)
  await member.watch()
  return changes
}

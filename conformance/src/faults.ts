// Only the mock server can be asked to go wrong. CONFORMANCE_FAULTS is the URL
// of what does it there, and without it the tests that ask are skipped.
const base = process.env.CONFORMANCE_FAULTS
export const needsFaults = base ? false : 'CONFORMANCE_FAULTS is not set, so nothing goes wrong on the side of the server'

type Socket = { socket: number; channels: { topic: string }[] }

async function request(path: string, body?: object): Promise<Response> {
  const answer = await fetch(`${base}/${path}`, body && {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
  })
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
  return answer
}

// socketOf returns the number of the socket that has joined a topic, so that a
// fault meets nobody else.
export async function socketOf(topic: string): Promise<number> {
  const sockets = await (await request('sockets')).json() as Socket[]
  const found = sockets.find((s) => s.channels.some((c) => c.topic === `realtime:${topic}`))
  if (!found) throw new Error(`no socket has joined ${topic}`)
  return found.socket
}

export async function fault(name: string, params: object): Promise<void> {
  await request('faults', { name, params })
}

// The client of Supabase, on the same work as the others. See ../main.go.
import { readFileSync } from 'node:fs'
import { RealtimeClient } from '@supabase/realtime-js'
import ws from 'ws'

const [url, wanted, perSecond] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const began = performance.now()
const cpu = process.cpuUsage()
const latencies = []
let events = 0
let ids = 0n
let totals = 0n

const client = new RealtimeClient(url.replace('/websocket', ''), { transport: ws, params: { apikey: 'anon' } })
const shop = client.channel('shop')
for (const table of ['payments', 'orders', 'products']) shop.on('postgres_changes', { event: '*', schema: 'public', table }, take)
shop.subscribe()

function take(payload) {
  const row = payload.eventType === 'DELETE' ? payload.old : payload.new
  events++
  if (perSecond > 0 && row.sent_at) latencies.push((performance.timeOrigin + performance.now()) * 1000 - row.sent_at / 1000)
  ids += BigInt(row.id)
  totals += BigInt(Math.round((row.total ?? 0) * 100))
  if (events === wanted) finish()
}

function finish() {
  const seconds = (performance.now() - began) / 1000
  const used = process.cpuUsage(cpu)
  latencies.sort((a, b) => a - b)
  const at = (p) => latencies[Math.floor(((latencies.length - 1) * p) / 100)] ?? 0
  const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
  console.log(JSON.stringify({
    events, seconds, cpu: (used.user + used.system) / 1e6, peak, decodes: true,
    ids: String(BigInt.asUintN(64, ids)), totals: String(BigInt.asUintN(64, totals)), p50: at(50), p99: at(99),
  }))
  process.exit(0)
}

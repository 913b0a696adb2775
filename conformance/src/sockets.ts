import WebSocket from 'ws'
import type { WebSocketLikeConstructor } from '@supabase/supabase-js'

// Sockets are those of one client. They are ordinary ones of package ws, which
// can be watched, and cut as a network does it.
export class Sockets {
  readonly frames: string[] = [] // text frames from the server
  readonly urls: string[] = []
  readonly #open = new Set<WebSocket>()
  readonly transport: WebSocketLikeConstructor

  constructor() {
    const sockets = this
    this.transport = class extends WebSocket {
      constructor(address: string | URL, protocols?: string | string[]) {
        super(address, protocols)
        sockets.urls.push(String(address))
        sockets.#open.add(this)
        this.on('close', () => sockets.#open.delete(this))
        this.on('message', (data, binary) => {
          if (!binary) sockets.frames.push(String(data))
        })
      }
    } as unknown as WebSocketLikeConstructor
  }

  // cut ends the connections without a close frame.
  cut(): void {
    for (const socket of this.#open) socket.terminate()
  }
}

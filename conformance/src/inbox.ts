// How long a wait may take. A project that was idle needs up to 9 s to begin
// with changes, and a refused join is answered after 5 s.
export const PATIENCE_MS = Number(process.env.CONFORMANCE_WAIT_MS ?? 20_000)

// Inbox holds what came, in order, until it is taken. Nobody sleeps: a test
// waits for what it wants to see, and shows that something else did not come
// by waiting for what was sent after it.
export class Inbox<T> {
  readonly #name: string
  readonly #items: T[] = []
  #wake: (() => void) | undefined

  constructor(name: string) {
    this.#name = name
  }

  put = (item: T): void => {
    this.#items.push(item)
    this.#wake?.()
  }

  // next takes the oldest one.
  async next(): Promise<T> {
    const [item] = await this.take(1)
    return item as T
  }

  // take takes the n oldest ones.
  async take(n: number): Promise<T[]> {
    await this.#wait(() => this.#items.length >= n, `${n} of ${this.#name}`)
    return this.#items.splice(0, n)
  }

  // until takes all up to the first for which match is true, and that one.
  async until(match: (item: T) => boolean): Promise<T[]> {
    await this.#wait(() => this.#items.some(match), `one of ${this.#name} that ${match}`)
    return this.#items.splice(0, this.#items.findIndex(match) + 1)
  }

  // rest takes what is there now.
  rest(): T[] {
    return this.#items.splice(0)
  }

  async #wait(enough: () => boolean, what: string): Promise<void> {
    const deadline = AbortSignal.timeout(PATIENCE_MS)
    while (!enough()) {
      if (deadline.aborted) {
        throw new Error(`waited ${PATIENCE_MS} ms for ${what}; came: ${JSON.stringify(this.#items)}`)
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        deadline.addEventListener('abort', () => resolve(), { once: true })
      })
    }
  }
}

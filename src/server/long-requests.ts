/** What it needs of Bun's server. */
export type RequestServer = Pick<Bun.Server<undefined>, "requestIP" | "timeout">;

/** How long requests get at a time. */
export interface RequestTime {
  /** At most 255. */
  readonly seconds: number;
  /** How often they get it anew: many times in that time, because a busy process may be late. */
  readonly renewMs: number;
}

const SHORTEST_SECONDS = 60;
const RENEW_MS = 10_000;

/** @param idleSeconds How long a connection may be idle. */
export function requestTime(idleSeconds: number): RequestTime {
  return { seconds: Math.max(idleSeconds, SHORTEST_SECONDS), renewMs: RENEW_MS };
}

/**
 * Requests that take as long as they take, on connections that may be idle only for so long.
 *
 * Bun's timer runs while a slow transfer makes progress, and cuts it. Turned off it stays off after the request, and a client that goes
 * silent then holds its connection for ever. So it is set back, over and over, until the request is answered.
 */
export class LongRequests {
  readonly #server: RequestServer;
  readonly #time: RequestTime;
  // By the port of their client: no more is kept than there are connections, whatever is asked on them meanwhile.
  readonly #requests = new Map<number, readonly Request[]>();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(server: RequestServer, time: RequestTime) {
    this.#server = server;
    this.#time = time;
  }

  /** Lets a request take its time. */
  add(request: Request): void {
    const port = this.#server.requestIP(request)?.port;
    // A unix socket tells nothing of its clients. Who connects to one is trusted to close what is not needed.
    if (port === undefined) return this.#server.timeout(request, 0);
    this.#server.timeout(request, this.#time.seconds);
    const others = this.#requests.get(port)?.filter((other) => this.#isUnderWay(other)) ?? [];
    this.#requests.set(port, [...others, request]);
    this.#timer ??= setInterval(() => this.#renew(), this.#time.renewMs).unref();
  }

  #renew(): void {
    for (const [port, requests] of this.#requests) {
      const left = requests.filter((request) => this.#isUnderWay(request));
      for (const request of left) this.#server.timeout(request, this.#time.seconds);
      if (left.length === 0) this.#requests.delete(port);
      else this.#requests.set(port, left);
    }
    if (this.#requests.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  // Bun forgets the address of a request that is answered to the end.
  #isUnderWay(request: Request): boolean {
    return this.#server.requestIP(request) !== null;
  }
}

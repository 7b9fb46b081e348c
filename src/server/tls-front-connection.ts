import type { Socket } from "bun";
import { RelayDirection } from "./tls-front-relay.ts";

/** How long a connection gets to ask for something when its front stops. */
const SETTLE_MS = 1_000;
const SETTLE_STEP_MS = 20;
const LOOPBACK = "127.0.0.1";

/** Where a connection goes on to, and who hears of it. */
export interface NextHop {
  /** A port of 127.0.0.1. */
  readonly port: number;
  /** Told before the first byte goes there. @param ownPort The port that the connection comes from. */
  readonly opened?: (ownPort: number) => void;
  readonly closed?: (ownPort: number) => void;
}

/** A client's connection to a front, and the one on loopback that it goes on by. */
export class FrontConnection {
  readonly up = new RelayDirection();
  readonly down = new RelayDirection();
  readonly #client: Socket<unknown>;
  #next: Socket<undefined> | undefined;
  #isOver = false;

  constructor(client: Socket<unknown>) {
    this.#client = client;
    this.up.connect({ source: client });
    this.down.connect({ target: client });
  }

  /** Whether the client has sent anything to be passed on. */
  get isUsed(): boolean {
    return this.up.isUsed;
  }

  /** Opens the way on. @throws Error when it cannot be had */
  async passOn(hop: NextHop): Promise<void> {
    let ownPort = 0;
    await Bun.connect({
      hostname: LOOPBACK,
      port: hop.port,
      socket: {
        open: (next) => {
          if (this.#isOver) return void next.terminate();
          next.setNoDelay(true);
          ownPort = next.localPort;
          hop.opened?.(ownPort);
          this.#connect(next);
        },
        data: (_, bytes) => this.down.received(bytes),
        drain: () => this.up.drained(),
        end: () => this.down.end(),
        close: () => {
          hop.closed?.(ownPort);
          this.up.discard();
          this.down.end();
        },
        timeout: (next) => void next.terminate(),
        error: (next) => void next.terminate(),
      },
    });
  }

  /** To be told when the client is gone. What it sent is passed on to the end: uploads that broke off can be gone on with. */
  clientClosed(): void {
    this.#isOver = true;
    this.down.discard();
    this.up.end();
  }

  terminate(): void {
    this.#client.terminate();
    this.#next?.terminate();
  }

  #connect(next: Socket<undefined>): void {
    this.#next = next;
    this.down.connect({ source: next });
    this.up.connect({ target: next });
  }
}

/** The connections of a front. */
export class FrontConnections {
  readonly #connections = new Set<FrontConnection>();
  #emptied: (() => void) | undefined;

  add(connection: FrontConnection): void {
    this.#connections.add(connection);
  }

  delete(connection: FrontConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#emptied?.();
  }

  /** Ends those that nothing is asked on, after a moment for who has just come. */
  async settle(): Promise<void> {
    const deadline = performance.now() + SETTLE_MS;
    while (this.#unused().length > 0 && performance.now() < deadline) await Bun.sleep(SETTLE_STEP_MS);
    for (const connection of this.#unused()) connection.terminate();
  }

  terminate(): void {
    for (const connection of this.#connections) connection.terminate();
  }

  /** @returns When there are none. */
  async empty(): Promise<void> {
    if (this.#connections.size === 0) return;
    await new Promise<void>((resolve) => (this.#emptied = resolve));
  }

  #unused(): readonly FrontConnection[] {
    return [...this.#connections].filter((connection) => !connection.isUsed);
  }
}

import type { Clock } from "../../lib/clock.ts";
import { outgoingProxy } from "../../lib/outgoing-proxy.ts";
import type { Logger } from "../../telemetry/log.ts";
import { parseKeySet } from "./key-set.ts";
import type { TrustedKey } from "./trusted-key.ts";

const MAX_SET_BYTES = 1024 * 1024;
const FETCH_TIMEOUT_MS = 5_000;
/** After a failure, and when a token has an unknown key, the set is fetched again, but no sooner. */
const RETRY_MS = 30_000;

/** Where a key set comes from. */
export interface FetchedKeysOptions {
  readonly url: string;
  /** How old a set may be. */
  readonly refreshMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * A key set that is fetched, kept, and fetched again: when it is old, beside the request that notices; when somebody shows a key that
 * is not in it, before the answer. A set that cannot be had leaves the old one in force.
 */
export class FetchedKeys {
  readonly #options: FetchedKeysOptions;
  #keys: ReadonlyMap<string, TrustedKey> = new Map();
  #text = "";
  #triedAt = Number.NEGATIVE_INFINITY;
  #nextAt = Number.NEGATIVE_INFINITY;
  #version = 0;
  #fetching: Promise<void> | undefined;

  constructor(options: FetchedKeysOptions) {
    this.#options = options;
  }

  /** Another one after every change of the keys. */
  get version(): number {
    return this.#version;
  }

  /** The key of an id; undefined when it is not in the set. Never rejects. */
  async find(id: string): Promise<TrustedKey | undefined> {
    const now = this.#options.clock.now();
    const key = this.#keys.get(id);
    if (key === undefined && now - this.#triedAt >= RETRY_MS) await this.refresh();
    // Not waited for: `refresh` reports its failures itself, and the key is good meanwhile.
    else if (now >= this.#nextAt) void this.refresh();
    return this.#keys.get(id);
  }

  /** Fetches the set now; calls that overlap share one fetch. Never rejects. */
  async refresh(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => void (this.#fetching = undefined));
    await this.#fetching;
  }

  async #fetch(): Promise<void> {
    const { url, refreshMs, clock, log } = this.#options;
    this.#triedAt = clock.now();
    this.#nextAt = this.#triedAt + Math.min(RETRY_MS, refreshMs);
    try {
      const text = await fetchText(url);
      this.#nextAt = this.#triedAt + refreshMs;
      if (text === this.#text) return;
      const { keys, skipped } = await parseKeySet(text, "public-only");
      for (const reason of skipped) log.warn("a key of the token server's key set cannot be used", { url, "err.message": reason });
      this.#keys = keys;
      this.#text = text;
      this.#version++;
    } catch (error) {
      log.error("the token server's key set cannot be fetched; the keys that are known stay trusted", { url, "err.message": error instanceof Error ? error.message : String(error) });
    }
  }
}

async function fetchText(url: string): Promise<string> {
  const response = await fetch(url, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS), headers: { accept: "application/json" }, ...outgoingProxy(new URL(url)) });
  if (!response.ok) throw new Error(`answered with status ${response.status}`);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_SET_BYTES) throw new Error(`is larger than ${MAX_SET_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

import { readFileSync } from "node:fs";
import type { Cluster, CommonRedisOptions, Redis } from "ioredis";
import type { Clock } from "../lib/clock.ts";
import type { Digest } from "../oci/digest.ts";
import type { Logger } from "../telemetry/log.ts";
import type { CachedDescriptor, DescriptorCache } from "./descriptor-cache.ts";
import type { RedisOptions } from "./redis-options.ts";

type CommonOptions = Pick<CommonRedisOptions, "username" | "password" | "connectionName" | "connectTimeout" | "commandTimeout" | "maxRetriesPerRequest" | "protocol" | "disableClientInfo" | "clientInfoTag">;

const DEFAULT_PORT = 6379;
/** For how long nothing is asked after a server that is connected did not answer. */
const REST_MS = 5_000;

/** What the cache is opened with besides its options. */
export interface RedisDeps {
  readonly log: Logger;
  readonly clock: Pick<Clock, "now">;
}

/**
 * Opens a descriptor cache in Redis, under the keys of distribution: a hash `blobs::<digest>` with `digest`, `size` and `mediatype`.
 * It connects in the background, for as long as it takes; without Redis it is an empty cache. One address is a server, several are a
 * cluster, or with `mastername` sentinels.
 * @throws Error that names the file of a certificate that cannot be read
 */
export async function openRedisCache(options: RedisOptions, deps: RedisDeps): Promise<DescriptorCache> {
  const sdk = await import("ioredis");
  const { mastername, sentinelusername, sentinelpassword } = options;
  const tls = tlsOptions(options.tls);
  const secured = tls === undefined ? {} : { tls };
  const common = commonOptions(options);
  // Nothing waits for a server that is away: the store is asked instead.
  const client = { ...common, ...secured, enableOfflineQueue: false, retryStrategy: (times: number) => pauseMs(options, times) };
  const nodes = options.addrs.map(parseAddress);
  if (mastername !== undefined && mastername !== "") {
    const login = { ...(sentinelusername === undefined ? {} : { sentinelUsername: sentinelusername }), ...(sentinelpassword === undefined ? {} : { sentinelPassword: sentinelpassword }) };
    const securedSentinels = tls === undefined ? {} : { sentinelTLS: tls, enableTLSForSentinelMode: true };
    return new RedisCache(new sdk.Redis({ ...client, ...login, ...securedSentinels, db: options.db, sentinels: nodes, name: mastername, sentinelRetryStrategy: client.retryStrategy }), deps);
  }
  if (nodes.length > 1) {
    const cluster = { enableOfflineQueue: false, clusterRetryStrategy: client.retryStrategy, maxRedirections: options.maxredirects, scaleReads: readsFrom(options) } as const;
    return new RedisCache(new sdk.Cluster(nodes, { ...cluster, redisOptions: { ...common, ...secured } }), deps);
  }
  return new RedisCache(new sdk.Redis({ ...client, ...nodes[0], db: options.db }), deps);
}

function readsFrom({ readonly, routerandomly }: RedisOptions): "master" | "slave" | "all" {
  if (routerandomly) return "all";
  return readonly ? "slave" : "master";
}

function commonOptions(options: RedisOptions): CommonOptions {
  const { username, password, clientname, dialtimeout, readtimeout, writetimeout, maxretries, protocol, disableidentity, identitysuffix } = options;
  const timeoutMs = Math.max(readtimeout, writetimeout);
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(clientname === undefined ? {} : { connectionName: clientname }),
    ...(dialtimeout > 0 ? { connectTimeout: dialtimeout } : {}),
    ...(timeoutMs > 0 ? { commandTimeout: timeoutMs } : {}),
    ...(identitysuffix === undefined || identitysuffix === "" ? {} : { clientInfoTag: identitysuffix }),
    disableClientInfo: disableidentity,
    protocol: protocol === 2 ? 2 : 3,
    maxRetriesPerRequest: Math.max(0, maxretries),
  };
}

/** Before a server is looked for again. @param times 1 for the first time. */
function pauseMs({ minretrybackoff, maxretrybackoff }: RedisOptions, times: number): number {
  return Math.min(Math.max(1, maxretrybackoff), Math.max(1, minretrybackoff) * 2 ** Math.min(times - 1, 20));
}

function tlsOptions({ certificate, key, rootcas, clientcas }: RedisOptions["tls"]): { cert?: string; key?: string; ca?: string[] } | undefined {
  const authorities = [...rootcas, ...clientcas].map((file) => readPem("redis.tls.rootcas", file));
  const hasPair = certificate !== undefined && certificate !== "" && key !== undefined && key !== "";
  if (!hasPair && authorities.length === 0) return undefined;
  return {
    ...(hasPair ? { cert: readPem("redis.tls.certificate", certificate), key: readPem("redis.tls.key", key) } : {}),
    ...(authorities.length > 0 ? { ca: authorities } : {}),
  };
}

function readPem(key: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new Error(`${key}: cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function parseAddress(address: string): { readonly host: string; readonly port: number } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(address) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined) throw new Error(`redis.addrs: found ${JSON.stringify(address)}, expected host:port`);
  return { host: host === "" ? "127.0.0.1" : host, port: port === undefined ? DEFAULT_PORT : Number(port) };
}

class RedisCache implements DescriptorCache {
  readonly #client: Redis | Cluster;
  readonly #log: Logger;
  readonly #clock: Pick<Clock, "now">;
  #isAway = false;
  #restUntil = 0;

  constructor(client: Redis | Cluster, { log, clock }: RedisDeps) {
    this.#client = client;
    this.#log = log;
    this.#clock = clock;
    client.on("error", (error: unknown) => this.#lost(error));
    client.on("close", () => this.#lost(new Error("the connection was closed")));
    client.on("ready", () => this.#found());
  }

  async get(digest: Digest): Promise<CachedDescriptor | undefined> {
    const found = await this.#ask(() => this.#client.hmget(keyOf(digest), "size", "mediatype"));
    const [size, mediaType] = found ?? [];
    // What somebody else put there is believed when it can be a size.
    if (size == null || !/^\d{1,15}$/.test(size)) return undefined;
    return { sizeBytes: Number(size), mediaType: mediaType ?? "" };
  }

  async set(digest: Digest, { sizeBytes, mediaType }: CachedDescriptor): Promise<void> {
    await this.#ask(() => this.#client.hset(keyOf(digest), { digest, size: String(sizeBytes), mediatype: mediaType }));
  }

  async delete(digest: Digest): Promise<void> {
    await this.#ask(() => this.#client.del(keyOf(digest)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.removeAllListeners("close");
    this.#client.disconnect();
  }

  /** @returns undefined when there is no answer. */
  async #ask<T>(command: () => Promise<T>): Promise<T | undefined> {
    if (this.#client.status !== "ready" || this.#clock.now() < this.#restUntil) return undefined;
    try {
      const answer = await command();
      this.#found();
      return answer;
    } catch (error) {
      // Somebody else keeps another kind of thing under the key.
      if (error instanceof Error && error.message.startsWith("WRONGTYPE")) return undefined;
      // A server that hangs is not waited for by every request.
      this.#restUntil = this.#clock.now() + REST_MS;
      this.#lost(error);
      return undefined;
    }
  }

  #lost(error: unknown): void {
    if (this.#isAway) return;
    this.#isAway = true;
    this.#log.warn("redis does not answer; sizes of blobs are asked of the store until it does", { "err.message": error instanceof Error ? error.message : String(error) });
  }

  #found(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#log.info("redis answers again");
  }
}

function keyOf(digest: Digest): string {
  return `blobs::${digest}`;
}

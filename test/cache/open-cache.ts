import { expect } from "bun:test";
import type { DescriptorCache } from "../../src/cache/descriptor-cache.ts";
import { openRedisCache } from "../../src/cache/redis.ts";
import { REDIS_OPTIONS } from "../../src/cache/redis-options.ts";
import { SYSTEM_CLOCK } from "../../src/lib/clock.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { Logger } from "../../src/telemetry/log.ts";

/** A blob, and what is known of it. */
export const DIGEST = digestOf(Buffer.from("a blob"));
/** See DIGEST. */
export const KNOWN = { sizeBytes: 6, mediaType: "application/octet-stream" };

/** A cache, and what it said in the log. */
export interface OpenedCache extends AsyncDisposable {
  readonly cache: DescriptorCache;
  readonly lines: readonly string[];
}

/** Opens a cache. @param options `redis`, as in a configuration. */
export async function openCache(options: object): Promise<OpenedCache> {
  const lines: string[] = [];
  const write = (level: string) => (message: string, fields?: object) => void lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
  const log: Logger = { isEnabled: () => true, debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error"), child: () => log };
  const cache = await openRedisCache(REDIS_OPTIONS.parse(options), { log, clock: SYSTEM_CLOCK });
  return { cache, lines, [Symbol.asyncDispose]: () => cache[Symbol.asyncDispose]() };
}

/** Keeps something until it is found: connecting takes a moment. */
export async function roundTrip({ cache, lines }: OpenedCache): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    await cache.set(DIGEST, KNOWN);
    const found = await cache.get(DIGEST);
    if (found !== undefined) return expect(found).toEqual(KNOWN);
    await Bun.sleep(50);
  }
  throw new Error(`nothing is kept:\n${lines.join("\n")}`);
}

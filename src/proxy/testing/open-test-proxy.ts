import type { z } from "zod";
import { type Clock, SYSTEM_CLOCK } from "../../lib/clock.ts";
import type { RepositoryName } from "../../oci/name.ts";
import { openLocalRegistry } from "../../registry/local-registry.ts";
import type { BlobContent, Registry } from "../../registry/registry.ts";
import type { StorageDriver } from "../../storage/driver.ts";
import { openInMemoryDriver } from "../../storage/inmemory/driver.ts";
import { type LogFields, type Logger, SILENT_LOGGER } from "../../telemetry/log.ts";
import { PROXY_OPTIONS } from "../options.ts";
import { openProxyRegistry, type ProxyMetrics, type ProxyRegistry } from "../proxy-registry.ts";

/** A mirror over a store, with what it logged. */
export interface TestProxy extends AsyncDisposable {
  readonly proxy: ProxyRegistry;
  readonly local: Registry;
  readonly driver: StorageDriver;
  readonly warnings: readonly { readonly message: string; readonly fields: LogFields | undefined }[];
}

/** A clock that stands still until it is moved; sleepers are woken when their time has come. */
export class ManualClock implements Clock {
  #now = Date.UTC(2026, 0, 1);
  #sleepers: { readonly until: number; readonly wake: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#sleepers.push({ until: this.#now + ms, wake: resolve });
      signal?.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  advance(ms: number): void {
    this.#now += ms;
    const due = this.#sleepers.filter(({ until }) => until <= this.#now);
    this.#sleepers = this.#sleepers.filter(({ until }) => until > this.#now);
    for (const { wake } of due) wake();
  }
}

/** Opens a mirror. Options are in the configuration's form. */
export async function openTestProxy(
  options: z.input<typeof PROXY_OPTIONS>,
  parts: { readonly driver?: StorageDriver; readonly clock?: Clock; readonly deleteEnabled?: boolean; readonly metrics?: ProxyMetrics } = {},
): Promise<TestProxy> {
  const { driver = openInMemoryDriver(), clock = SYSTEM_CLOCK, deleteEnabled = false } = parts;
  const warnings: { message: string; fields: LogFields | undefined }[] = [];
  const note = (message: string, fields?: LogFields): void => void warnings.push({ message, fields });
  const log: Logger = { ...SILENT_LOGGER, warn: note, error: note };
  const validation = { enabled: true, urls: { allow: [], deny: [] }, indexes: { platforms: "all", platformList: [] }, sparseImages: false } as const;
  const local = openLocalRegistry({ driver, log, clock, deleteEnabled: true, redirectEnabled: false, validation, tagConcurrency: 4 });
  const proxy = await openProxyRegistry(PROXY_OPTIONS.parse(options), {
    local,
    driver,
    deleteEnabled,
    maxManifestBytes: 4 * 1024 * 1024,
    clock,
    log,
    ...(parts.metrics !== undefined && { metrics: parts.metrics }),
  });
  return {
    proxy,
    local,
    driver,
    warnings,
    async [Symbol.asyncDispose]() {
      await proxy.close();
      await local[Symbol.asyncDispose]();
    },
  };
}

/** The bytes of a blob, or a part of them, however it is served. */
export async function bytesOf(content: BlobContent, offset = 0, length = content.sizeBytes - offset): Promise<Uint8Array> {
  switch (content.kind) {
    case "bytes":
      return content.bytes.subarray(offset, offset + length);
    case "file":
      return await Bun.file(content.file).slice(offset, offset + length).bytes();
    case "stream":
      return await new Response(await content.open(offset, length)).bytes();
    case "redirect":
      throw new Error("did not expect a redirect");
  }
}

/** Pulls a whole blob. */
export async function pullBlob(registry: Registry, name: RepositoryName, digest: Parameters<Registry["blobs"]["stat"]>[1]): Promise<Uint8Array> {
  return await bytesOf(await registry.blobs.open(name, digest, { method: "GET" }));
}

/** Waits until a condition holds, five seconds at most. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error("the condition did not come true");
    await Bun.sleep(5);
  }
}


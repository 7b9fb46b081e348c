import { tmpdir } from "node:os";
import type { Clock } from "../lib/clock.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import { type ContentGate, OPEN_GATE } from "../registry/content-gate.ts";
import type { Blobs, Catalog, Manifests, Referrers, Registry, Tags, Uploads } from "../registry/registry.ts";
import { UploadHasher } from "../registry/upload-hash.ts";
import { SharedBuffers } from "../registry/shared-buffers.ts";
import type { StorageDriver } from "../storage/driver.ts";
import type { Logger } from "../telemetry/log.ts";
import { compileGlob } from "./globs.ts";
import { Housekeeping, type MaintenanceResult } from "./housekeeping.ts";
import { type Mirror, MissingMemory } from "./mirror.ts";
import { MirrorBlobs } from "./mirror-blobs.ts";
import { MirrorManifests } from "./mirror-manifests.ts";
import { MirrorReferrers } from "./mirror-referrers.ts";
import { MirrorTags } from "./mirror-tags.ts";
import { MirrorUploads } from "./mirror-uploads.ts";
import type { ProxyOptions } from "./options.ts";
import { openRemotes } from "./remotes.ts";
import { Retention } from "./retention.ts";
import { type Remote, Routes } from "./routes.ts";
import { ProxyStore } from "./store.ts";
import { TagResolver } from "./tag-resolver.ts";
import { Traffic, type TrafficCounts, type TrafficMetrics } from "./traffic.ts";
import type { UpstreamMetrics } from "./upstream.ts";
import { UpstreamError } from "./upstream-error.ts";
import { Usage } from "./usage.ts";

const PING_TIMEOUT_MS = 10_000;
/** Writing the state may take this part of the time at most; a small one is written as often as `maintain` is called. */
const MAX_SAVE_SHARE = 0.02;

/** What a mirror counts. */
export type ProxyMetrics = TrafficMetrics & UpstreamMetrics;

/** What a pull-through cache needs of the program. */
export interface ProxyParts {
  /** Keeps and serves what was fetched, and the repositories that are ours. Its deletes must work: expiry uses them. */
  readonly local: Registry;
  /** The store of `local`. */
  readonly driver: StorageDriver;
  /** The gate of `local`; left out where nobody collects garbage while this registry serves. */
  readonly gate?: ContentGate | undefined;
  /** Whether clients may delete in the repositories that are ours (`storage.delete.enabled`). */
  readonly deleteEnabled: boolean;
  /** Larger manifests are refused. */
  readonly maxManifestBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: ProxyMetrics;
}

/** What `/debug/vars` shows as `registry.proxy`. */
export interface ProxyVars {
  readonly blobs: TrafficCounts;
  readonly manifests: TrafficCounts;
}

/**
 * Opens a pull-through cache around a local registry. Upstreams that are away do not hinder it; that they are is logged.
 * @throws Error when a file that the options name cannot be read, or the store fails.
 */
export async function openProxyRegistry(options: ProxyOptions, parts: ProxyParts): Promise<ProxyRegistry> {
  const remotes = await openRemotes(options, parts);
  const proxy = new ProxyRegistry(options, remotes, parts);
  await proxy.restore();
  proxy.announce();
  return proxy;
}

/** A registry that fetches from upstream what it does not have, and keeps it. */
export class ProxyRegistry implements Registry, AsyncDisposable {
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly referrers: Referrers;
  readonly catalog: Catalog;
  readonly #routes: Routes;
  readonly #remotes: readonly Remote[];
  readonly #fetches: MirrorBlobs;
  readonly #traffic: Traffic;
  readonly #housekeeping: Housekeeping | undefined;
  readonly #closing = new AbortController();
  readonly #parts: ProxyParts;
  readonly #hasher: UploadHasher;
  #pings: Promise<unknown> = Promise.resolve();
  #nextSaveAt = 0;

  constructor(options: ProxyOptions, remotes: readonly Remote[], parts: ProxyParts) {
    const { local, clock, log, deleteEnabled } = parts;
    this.#parts = parts;
    this.#hasher = new UploadHasher(log, 1);
    this.#remotes = remotes;
    this.#routes = new Routes(remotes, options.local.map(compileGlob));
    this.#traffic = new Traffic(parts.metrics);
    const retention = options.maxsize > 0 || remotes.some(({ ttlMs }) => ttlMs > 0) ? new Retention() : undefined;
    const store = new ProxyStore(parts.driver, parts.gate ?? OPEN_GATE);
    const mirror: Mirror = {
      routes: this.#routes,
      local,
      store,
      usage: new Usage(retention, clock),
      traffic: this.#traffic,
      missing: new MissingMemory(clock, options.missingttl),
      clock,
      log,
      closing: this.#closing.signal,
      deleteEnabled,
      staleTimeoutMs: options.staletimeout,
      unattendedMs: options.cachewritetimeout,
      hasher: this.#hasher,
      buffers: new SharedBuffers(),
      spoolFolder: options.spooldirectory ?? tmpdir(),
    };
    const resolver = new TagResolver(mirror);
    this.#fetches = new MirrorBlobs(mirror);
    this.blobs = this.#fetches;
    this.uploads = new MirrorUploads(mirror);
    this.manifests = new MirrorManifests(mirror, resolver);
    this.tags = new MirrorTags(mirror, resolver);
    this.referrers = new MirrorReferrers(mirror);
    this.catalog = local.catalog;
    this.#housekeeping = retention === undefined ? undefined : new Housekeeping({ retention, routes: this.#routes, store, local, blobs: this.#fetches, maxBytes: options.maxsize, clock, log });
  }

  /** Takes over what an earlier run knew of the contents. */
  async restore(): Promise<void> {
    await this.#housekeeping?.restore();
  }

  /** Looks, beside everything else, whether the upstreams are there, and logs which ones are not. */
  announce(): void {
    this.#pings = Promise.all(this.#remotes.map((remote) => this.#announce(remote)));
  }

  /**
   * The local repository that a client means who asks for `name` with `?ns=` of an upstream.
   * @throws RegistryError NAME_UNKNOWN when that upstream is not mirrored beside others that are.
   */
  resolveNamespace(namespace: string, name: RepositoryName): RepositoryName {
    return this.#routes.resolveNamespace(namespace, name);
  }

  /** Whether pushes to a repository can be meant to succeed: it is ours. */
  isLocal(name: RepositoryName): boolean {
    try {
      return this.#routes.route(name).kind === "local";
    } catch (error) {
      if (error instanceof RegistryError) return false;
      throw error;
    }
  }

  /**
   * Lets expired content go and writes down what was used. To be called every few seconds.
   * @returns What was taken out of repositories; its bytes go with the next garbage collection.
   */
  async maintain(signal: AbortSignal): Promise<MaintenanceResult> {
    if (this.#housekeeping === undefined) return { blobs: 0, manifests: 0 };
    const result = await this.#housekeeping.sweep(signal);
    const now = this.#parts.clock.now();
    if (now >= this.#nextSaveAt) {
      await this.#housekeeping.save();
      this.#nextSaveAt = now + (this.#parts.clock.now() - now) / MAX_SAVE_SHARE;
    }
    return result;
  }

  /** What `/debug/vars` shows as `registry.proxy`. */
  vars(): ProxyVars {
    return { blobs: this.#traffic.counts("blob"), manifests: this.#traffic.counts("manifest") };
  }

  /** Ends the transfers under way, and writes down what was used. */
  async close(): Promise<void> {
    this.#closing.abort(new UpstreamError("unavailable", "the registry stops"));
    await this.#pings;
    await this.#fetches.drain();
    await this.#hasher[Symbol.asyncDispose]();
    await this.#housekeeping?.save();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #announce({ upstream, prefix }: Remote): Promise<void> {
    const { log } = this.#parts;
    const fields = { upstream: upstream.host, ...(prefix !== undefined && { prefix }) };
    log.info("mirroring an upstream registry", fields);
    try {
      await upstream.ping(PING_TIMEOUT_MS);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      log.warn("upstream registry is away: serving what is cached", { ...fields, "err.message": error instanceof Error ? error.message : String(error) });
    }
  }
}

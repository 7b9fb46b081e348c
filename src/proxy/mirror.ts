import type { Clock } from "../lib/clock.ts";
import { LruMap } from "../lib/lru.ts";
import { type ErrorCode, RegistryError } from "../oci/errors.ts";
import type { Registry } from "../registry/registry.ts";
import type { UploadHasher } from "../registry/upload-hash.ts";
import type { SharedBuffers } from "../registry/shared-buffers.ts";
import type { Logger } from "../telemetry/log.ts";
import type { MirrorRoute, Routes } from "./routes.ts";
import type { ProxyStore } from "./store.ts";
import type { Traffic } from "./traffic.ts";
import { type Missing, toRegistryError, UpstreamError } from "./upstream-error.ts";
import type { Usage } from "./usage.ts";

/** What the parts of a mirror share. */
export interface Mirror {
  readonly routes: Routes;
  /** Where everything is kept; it may delete. */
  readonly local: Registry;
  readonly store: ProxyStore;
  readonly usage: Usage;
  readonly traffic: Traffic;
  readonly missing: MissingMemory;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborts when the mirror closes. */
  readonly closing: AbortSignal;
  /** Whether clients may delete in the repositories that are ours. */
  readonly deleteEnabled: boolean;
  /** How long upstream is waited for when there is something in the cache to offer instead. */
  readonly staleTimeoutMs: number;
  /** How long a transfer from upstream goes on without a client. */
  readonly unattendedMs: number;
  readonly hasher: UploadHasher;
  readonly buffers: SharedBuffers;
  /** Where bytes are kept for late clients while a store is written that cannot be read meanwhile. */
  readonly spoolFolder: string;
}

const MAX_MISSING = 10_000;

/** Remembers for a little while what an upstream does not have. */
export class MissingMemory {
  readonly #clock: Clock;
  readonly #forMs: number;
  readonly #until = new LruMap<string, number>(MAX_MISSING);

  constructor(clock: Clock, forMs: number) {
    this.#clock = clock;
    this.#forMs = forMs;
  }

  /** Runs a question to an upstream, unless its answer would be the "no" of a moment ago. @throws UpstreamError */
  async ask<T>(key: string, question: () => Promise<T>): Promise<T> {
    if (this.#clock.now() < (this.#until.get(key) ?? 0)) throw new UpstreamError("missing", "the upstream did not have it a moment ago");
    try {
      return await question();
    } catch (error) {
      if (error instanceof UpstreamError && error.problem === "missing" && this.#forMs > 0) this.#until.set(key, this.#clock.now() + this.#forMs);
      throw error;
    }
  }
}

/** Whether an error says that something is not there, by one of these codes. */
export function isUnknown(error: unknown, ...codes: readonly ErrorCode[]): boolean {
  return error instanceof RegistryError && codes.includes(error.code);
}

/** Runs something that asks upstream; what fails there is logged and said in the registry's terms. */
export async function askingUpstream<T>(asked: { readonly mirror: Mirror; readonly route: MirrorRoute; readonly missing: Missing }, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    noteUpstreamError(asked.mirror, asked.route, error);
    throw toRegistryError(error, asked.missing);
  }
}

/** Logs what an upstream did not do; that it does not have something is no news, nor is what it said before. */
export function noteUpstreamError(mirror: Mirror, route: MirrorRoute, error: unknown): void {
  if (!(error instanceof UpstreamError) || error.problem === "missing" || error.isRemembered) return;
  mirror.log.warn("upstream registry did not give what was asked for", {
    upstream: route.remote.upstream.host,
    repository: route.upstreamName,
    problem: error.problem,
    "err.message": error.message,
    ...(error.cause instanceof Error && { "err.cause": error.cause.message }),
  });
}

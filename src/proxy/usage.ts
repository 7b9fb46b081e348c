import type { Clock } from "../lib/clock.ts";
import type { Digest } from "../oci/digest.ts";
import { parseStoredManifest, referencesOf } from "../oci/manifest.ts";
import type { StoredManifest } from "../registry/registry.ts";
import type { Retention } from "./retention.ts";
import type { MirrorRoute } from "./routes.ts";

/** Notes what is used, as far as anything depends on it. */
export class Usage {
  /** Undefined when everything stays for ever and there is no limit of size. */
  readonly #retention: Retention | undefined;
  readonly #clock: Clock;

  constructor(retention: Retention | undefined, clock: Clock) {
    this.#retention = retention;
    this.#clock = clock;
  }

  /** A blob was read or stored. */
  blob(route: MirrorRoute, digest: Digest, sizeBytes: number): void {
    const now = this.#clock.now();
    const content = { repository: route.repository, digest, kind: "blob" } as const;
    if (this.#retention?.isStale(content, now) === true) this.#retention.touch(content, { at: now, ttlMs: route.remote.ttlMs, sizeBytes });
  }

  /** A manifest was read or stored. What it refers to is as much in use, although clients that have it already do not ask for it. */
  manifest(route: MirrorRoute, manifest: StoredManifest): void {
    const now = this.#clock.now();
    const content = { repository: route.repository, digest: manifest.digest, kind: "manifest" } as const;
    if (this.#retention?.isStale(content, now) !== true) return;
    this.#retention.touch(content, { at: now, ttlMs: route.remote.ttlMs, sizeBytes: manifest.bytes.length });
    for (const { digest } of referencesOf(parseStoredManifest(manifest.bytes))) this.#retention.refresh(route.repository, digest, now);
  }
}

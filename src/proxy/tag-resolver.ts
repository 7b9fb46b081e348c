import { LruMap } from "../lib/lru.ts";
import { SingleFlight } from "../lib/single-flight.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/name.ts";
import { type Mirror, noteUpstreamError } from "./mirror.ts";
import type { MirrorRoute } from "./routes.ts";
import type { UpstreamTag } from "./upstream.ts";
import { UpstreamError } from "./upstream-error.ts";

const MAX_TAGS = 20_000;

/** What a tag points to. */
export interface ResolvedTag extends UpstreamTag {
  /** What the tag is written down to point to; undefined when it is not written down. */
  readonly known: Digest | undefined;
}

interface KnownTag {
  /** What upstream said. */
  readonly digest: Digest;
  readonly checkedAt: number;
  readonly known: Digest | undefined;
}

/** Knows what upstream's tags point to: asks, unless it asked a moment ago, and falls back on what it knows. */
export class TagResolver {
  readonly #mirror: Mirror;
  readonly #tags = new LruMap<string, KnownTag>(MAX_TAGS);
  readonly #flights = new SingleFlight<ResolvedTag>();

  constructor(mirror: Mirror) {
    this.#mirror = mirror;
  }

  /**
   * Resolves a tag. Many who ask for one at a time cost one request.
   * @throws UpstreamError when upstream does not tell and nothing is known.
   */
  async resolve(route: MirrorRoute, tag: Tag): Promise<ResolvedTag> {
    const key = keyOf(route, tag);
    const last = this.#tags.get(key);
    if (last !== undefined && this.#mirror.clock.now() - last.checkedAt < route.remote.tagTtlMs) return last;
    return await this.#flights.run(key, () => this.#ask(route, tag, key));
  }

  /** Writes down what a tag points to, now that the manifest is stored; for the time when upstream is away. */
  async confirm(route: MirrorRoute, tag: Tag, resolved: ResolvedTag): Promise<void> {
    await this.#mirror.store.setTag(route.repository, tag, resolved.digest);
    const key = keyOf(route, tag);
    const last = this.#tags.get(key);
    if (last !== undefined) this.#tags.set(key, { ...last, known: resolved.digest });
  }

  async #ask(route: MirrorRoute, tag: Tag, key: string): Promise<ResolvedTag> {
    const known = this.#tags.get(key)?.known ?? (await this.#mirror.store.readTag(route.repository, tag));
    const { upstream } = route.remote;
    if (known !== undefined && upstream.isResting) return { digest: known, known };
    try {
      const answer = await this.#mirror.missing.ask(`tag ${key}`, () => upstream.resolveTag(route.upstreamName, tag, known === undefined ? undefined : this.#mirror.staleTimeoutMs));
      this.#tags.set(key, { digest: answer.digest, checkedAt: this.#mirror.clock.now(), known });
      return { ...answer, known };
    } catch (error) {
      if (known === undefined || !(error instanceof UpstreamError)) throw error;
      noteUpstreamError(this.#mirror, route, error);
      return { digest: known, known };
    }
  }
}

function keyOf(route: MirrorRoute, tag: Tag): string {
  return `${route.repository}:${tag}`;
}

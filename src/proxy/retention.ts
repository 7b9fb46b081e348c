import { type Digest, isDigest } from "../oci/digest.ts";
import { isName, type RepositoryName } from "../oci/name.ts";

/** What kind of content an entry stands for; the numbers are distribution's. */
export const CONTENT_KINDS = { blob: 0, manifest: 1 } as const;

/** What kind of content an entry stands for. */
export type ContentKind = keyof typeof CONTENT_KINDS;

/** Something that a mirrored repository has. */
export interface MirroredContent {
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly kind: ContentKind;
}

/** One thing and how long it may stay. */
export interface RetentionEntry extends MirroredContent {
  /** Milliseconds since the epoch. */
  readonly usedAt: number;
  /** From the last use on; 0 for ever. */
  readonly ttlMs: number;
  /** 0 when it is not known. */
  readonly sizeBytes: number;
}

/** A use is not noted again for so long, or a twentieth of the time it may stay: a popular image must not cost a write each pull. */
const MAX_GRAIN_MS = 60 * 60 * 1000;
const FOREVER = "9999-12-31T23:59:59Z";

/** An entry of the state file: distribution's fields, and ours behind them, which it does not mind. */
interface StoredEntry {
  readonly Key: string;
  readonly ExpiryData: string;
  readonly EntryType: number;
  readonly LastUse?: string;
  readonly Size?: number;
}

/** Remembers when each mirrored thing was last used, and knows what has to go: what nobody wanted for too long, and what is too much. */
export class Retention {
  readonly #entries = new Map<string, RetentionEntry>();
  #isChanged = false;

  /** Whether something was noted since `serialize`. */
  get isChanged(): boolean {
    return this.#isChanged;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Whether a use is worth noting: it is the first one, or the last one was noted a while ago. Costs next to nothing. */
  isStale(content: MirroredContent, now: number): boolean {
    const entry = this.#entries.get(keyOf(content));
    return entry === undefined || now - entry.usedAt > grainOf(entry.ttlMs);
  }

  /** Notes a use. */
  touch(content: MirroredContent, use: { readonly at: number; readonly ttlMs: number; readonly sizeBytes: number }): void {
    const { repository, digest, kind } = content;
    this.#entries.set(keyOf(content), { repository, digest, kind, usedAt: use.at, ttlMs: use.ttlMs, sizeBytes: use.sizeBytes });
    this.#isChanged = true;
  }

  /** Notes that something is needed by something that was used; what is not known stays so. */
  refresh(repository: RepositoryName, digest: Digest, at: number): void {
    const key = `${repository}@${digest}`;
    const entry = this.#entries.get(key);
    if (entry === undefined || at - entry.usedAt <= grainOf(entry.ttlMs)) return;
    this.#entries.set(key, { ...entry, usedAt: at });
    this.#isChanged = true;
  }

  /** Forgets something that is gone. */
  forget(content: MirroredContent): void {
    if (this.#entries.delete(keyOf(content))) this.#isChanged = true;
  }

  /** What has not been used for longer than it may stay; manifests first, so that none is left without its blobs for longer than needed. */
  expired(now: number): RetentionEntry[] {
    return [...this.#entries.values()].filter(({ usedAt, ttlMs }) => ttlMs > 0 && usedAt + ttlMs <= now).sort(manifestsFirst);
  }

  /** What has to go so that the rest takes `maxBytes` at most: what was used longest ago. A blob in several repositories counts once. */
  excess(maxBytes: number): RetentionEntry[] {
    const holders = new Map<Digest, { readonly sizeBytes: number; count: number }>();
    let totalBytes = 0;
    for (const { digest, sizeBytes } of this.#entries.values()) {
      const known = holders.get(digest);
      if (known !== undefined) {
        known.count++;
        continue;
      }
      holders.set(digest, { sizeBytes, count: 1 });
      totalBytes += sizeBytes;
    }
    if (totalBytes <= maxBytes) return [];
    const victims: RetentionEntry[] = [];
    for (const entry of [...this.#entries.values()].sort((a, b) => a.usedAt - b.usedAt || manifestsFirst(a, b))) {
      if (totalBytes <= maxBytes) break;
      victims.push(entry);
      const holder = holders.get(entry.digest);
      if (holder !== undefined && --holder.count === 0) totalBytes -= holder.sizeBytes;
    }
    return victims;
  }

  /**
   * Takes over what was written by `serialize`, or by distribution.
   * @param ttlOf How long what a repository has may stay; undefined when it is not mirrored (any more).
   * @throws Error when the text is not such a state.
   */
  restore(text: string, ttlOf: (repository: RepositoryName) => number | undefined): void {
    const state: unknown = JSON.parse(text);
    if (typeof state !== "object" || state === null || Array.isArray(state)) throw new Error("expected a JSON object");
    for (const stored of Object.values(state) as StoredEntry[]) {
      const entry = parseEntry(stored, ttlOf);
      if (entry !== undefined) this.#entries.set(keyOf(entry), entry);
    }
  }

  /** The state as text, in the form of distribution's `scheduler-state.json`. */
  serialize(): string {
    this.#isChanged = false;
    const state: Record<string, StoredEntry> = {};
    for (const [key, entry] of this.#entries) {
      state[key] = {
        Key: key,
        ExpiryData: entry.ttlMs > 0 ? new Date(entry.usedAt + entry.ttlMs).toISOString() : FOREVER,
        EntryType: CONTENT_KINDS[entry.kind],
        LastUse: new Date(entry.usedAt).toISOString(),
        Size: entry.sizeBytes,
      };
    }
    return JSON.stringify(state);
  }
}

function keyOf({ repository, digest }: MirroredContent): string {
  return `${repository}@${digest}`;
}

function grainOf(ttlMs: number): number {
  return ttlMs > 0 ? Math.min(MAX_GRAIN_MS, ttlMs / 20) : MAX_GRAIN_MS;
}

function manifestsFirst(a: RetentionEntry, b: RetentionEntry): number {
  return CONTENT_KINDS[b.kind] - CONTENT_KINDS[a.kind];
}

function parseEntry(stored: StoredEntry, ttlOf: (repository: RepositoryName) => number | undefined): RetentionEntry | undefined {
  if (typeof stored?.Key !== "string") return undefined;
  const at = stored.Key.lastIndexOf("@");
  const repository = stored.Key.slice(0, at);
  const digest = stored.Key.slice(at + 1);
  const expiresAt = Date.parse(stored.ExpiryData);
  if (!isName(repository) || !isDigest(digest) || Number.isNaN(expiresAt)) return undefined;
  const ttlMs = ttlOf(repository);
  if (ttlMs === undefined) return undefined;
  // Distribution tells only when it would expire, under the time that it was configured with: taken for ours.
  const usedAt = Date.parse(stored.LastUse ?? "") || expiresAt - ttlMs;
  const kind = stored.EntryType === CONTENT_KINDS.manifest ? "manifest" : "blob";
  return { repository, digest, kind, usedAt, ttlMs, sizeBytes: typeof stored.Size === "number" ? stored.Size : 0 };
}

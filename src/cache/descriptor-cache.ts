import type { Digest } from "../oci/digest.ts";

/**
 * Remembers the sizes of blobs by content. Only positive knowledge is kept, and a stale "it exists" must never be believed where a
 * client is told so: who uses it checks the link or the bytes. A cache that fails behaves like an empty one.
 */
export interface DescriptorCache extends AsyncDisposable {
  get(digest: Digest): Promise<CachedDescriptor | undefined>;
  set(digest: Digest, descriptor: CachedDescriptor): Promise<void>;
  delete(digest: Digest): Promise<void>;
}

/** What is remembered of a blob. */
export interface CachedDescriptor {
  readonly sizeBytes: number;
  readonly mediaType: string;
}

import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest, DigestAlgorithm } from "../oci/digest.ts";
import type { ManifestMediaType } from "../oci/media-types.ts";
import type { RepositoryName, Tag } from "../oci/name.ts";

/**
 * A registry as the HTTP layer sees it: every rule of repositories, blobs, uploads, manifests and tags, and no word of HTTP.
 * The local registry and the pull-through proxy implement it. All errors that a client is told about are RegistryErrors.
 */
export interface Registry {
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly referrers: Referrers;
  readonly catalog: Catalog;
}

/** The blobs that repositories hold. */
export interface Blobs {
  /**
   * @returns Digest as asked for, and size.
   * @throws RegistryError BLOB_UNKNOWN (detail: the digest) when the repository does not hold the blob, whoever else does.
   */
  stat(name: RepositoryName, digest: Digest): Promise<BlobInfo>;

  /** Opens a blob for sending. @throws RegistryError BLOB_UNKNOWN */
  open(name: RepositoryName, digest: Digest, request: OpenRequest): Promise<BlobContent>;

  /**
   * Makes a blob that another repository holds readable in this one.
   * @param from Where the caller may read it; several to look in for a mount without a source.
   * @returns The source and the blob; undefined when none of them holds it.
   */
  mount(name: RepositoryName, digest: Digest, from: Iterable<RepositoryName> | AsyncIterable<RepositoryName>): Promise<MountedBlob | undefined>;

  /** Unlinks a blob from a repository; its bytes stay for the collector. @throws RegistryError BLOB_UNKNOWN, UNSUPPORTED when deletion is off */
  delete(name: RepositoryName, digest: Digest): Promise<void>;
}

/** What is known of a blob. */
export interface BlobInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** How a blob is wanted. */
export interface OpenRequest {
  readonly method: "GET" | "HEAD";
  readonly clientAddress?: string;
}

/** A blob ready to be sent, in whichever of four ways is the cheapest. */
export type BlobContent = BlobInfo & {
  /** Differs from `application/octet-stream` only where an upstream said so. */
  readonly mediaType?: string;
} & (
    | { readonly kind: "bytes"; readonly bytes: Uint8Array }
    /** A file on this host, by absolute path. */
    | { readonly kind: "file"; readonly file: string }
    | { readonly kind: "redirect"; readonly url: string }
    | { readonly kind: "stream"; open(offset: number, length: number): Promise<ReadableStream<Uint8Array>> }
  );

/** The outcome of a mount. */
export interface MountedBlob extends BlobInfo {
  readonly from: RepositoryName;
}

/** Bytes of a request body, in any chunk size. Chunks are given away: the memory of one that is a whole buffer may be freed once it was read. */
export type ByteSource = AsyncIterable<Uint8Array>;

/** Blobs on their way in. */
export interface Uploads {
  /** Begins an upload. @throws RegistryError UNSUPPORTED where nothing can be pushed */
  start(name: RepositoryName, options?: { readonly algorithm?: DigestAlgorithm }): Promise<UploadInfo>;

  /** Stores a whole blob in one go, without an upload of its own. @throws RegistryError DIGEST_INVALID; nothing is kept then. */
  put(name: RepositoryName, body: ByteSource, digest: Digest): Promise<BlobInfo>;

  /** How far an upload is. @throws RegistryError BLOB_UPLOAD_UNKNOWN */
  status(name: RepositoryName, id: string): Promise<UploadInfo>;

  /**
   * Appends bytes. What arrived before a failure of the body is kept.
   * @throws RegistryError BLOB_UPLOAD_UNKNOWN; RANGE_INVALID (with a `range` header) when `offset` is not where the upload stands or
   *   another request writes to it: the upload and its bytes stay as they are; SIZE_INVALID when the body's length is not what was announced.
   */
  append(name: RepositoryName, id: string, body: ByteSource, options: AppendOptions): Promise<UploadInfo>;

  /**
   * Appends the last bytes, proves the digest, and makes the blob readable in the repository.
   * @throws RegistryError as `append` does; DIGEST_INVALID: the upload is then gone with its bytes.
   */
  finish(name: RepositoryName, id: string, body: ByteSource | undefined, options: AppendOptions & { readonly digest: Digest }): Promise<BlobInfo>;

  /** Discards an upload. @throws RegistryError BLOB_UPLOAD_UNKNOWN */
  cancel(name: RepositoryName, id: string): Promise<void>;
}

/** Where appended bytes belong. */
export interface AppendOptions {
  /** The offset that the client believes the upload to be at; undefined when it does not say. */
  readonly offset?: number;
  /** How many bytes the client announced, by a range or a content length; undefined when it does not say. */
  readonly lengthBytes?: number;
  /** Aborts when the client has gone. */
  readonly signal?: AbortSignal;
}

/** Where an upload stands. */
export interface UploadInfo {
  readonly id: string;
  readonly sizeBytes: number;
  readonly startedAt: Date;
}

/** The manifests that repositories hold. */
export interface Manifests {
  /**
   * @param reference A tag or a digest.
   * @throws RegistryError MANIFEST_UNKNOWN
   */
  get(name: RepositoryName, reference: ManifestReference): Promise<StoredManifest>;

  /**
   * Checks and stores a manifest, then sets the tags.
   * @throws RegistryError MANIFEST_INVALID, DIGEST_INVALID (not the bytes of `digest`), MANIFEST_BLOB_UNKNOWN (an entry for each
   *   missing one), DENIED (policy)
   */
  put(name: RepositoryName, pushed: PushedManifest): Promise<PutManifest>;

  /**
   * Deletes a manifest and every tag that points to it.
   * @returns The tags that went with it.
   * @throws RegistryError MANIFEST_UNKNOWN, UNSUPPORTED when deletion is off
   */
  delete(name: RepositoryName, digest: Digest): Promise<readonly Tag[]>;
}

/** How a manifest is asked for. */
export type ManifestReference = { readonly tag: Tag } | { readonly digest: Digest };

/** A manifest as it is served. Objects may be shared between calls: never write to them. */
export interface StoredManifest {
  readonly digest: Digest;
  readonly mediaType: ManifestMediaType;
  readonly bytes: Uint8Array;
}

/** A manifest as it is pushed. */
export interface PushedManifest {
  readonly bytes: Uint8Array;
  /** The request's Content-Type without parameters. */
  readonly contentType: string | undefined;
  /** The digest in the URL; undefined when pushed by tag. */
  readonly digest: Digest | undefined;
  /** Every tag to set. */
  readonly tags: readonly Tag[];
  /** Resource classes that the caller's token grants for this repository; undefined when nobody restricts them. */
  readonly grantedClasses?: readonly string[];
}

/** What a push of a manifest came to. */
export interface PutManifest {
  readonly digest: Digest;
  readonly mediaType: ManifestMediaType;
  readonly sizeBytes: number;
  readonly subject: Digest | undefined;
  /** Config, layers and children, for events. */
  readonly references: readonly Descriptor[];
}

/** The tags of repositories. */
export interface Tags {
  /** @throws RegistryError NAME_UNKNOWN for a repository without a tags folder */
  list(name: RepositoryName, page: PageRequest): Promise<Page<string>>;

  /** The digest that a tag points to. @throws RegistryError MANIFEST_UNKNOWN */
  resolve(name: RepositoryName, tag: Tag): Promise<Digest>;

  /** Removes a tag only. @throws RegistryError MANIFEST_UNKNOWN, UNSUPPORTED when deletion is off */
  delete(name: RepositoryName, tag: Tag): Promise<void>;
}

/** The manifests that refer to others by `subject`. */
export interface Referrers {
  /** Manifests of the repository that name `subject`, in bytewise order of digests; empty for unknown ones. `last` is a digest. */
  list(name: RepositoryName, subject: Digest, page: PageRequest & { readonly artifactType?: string }): Promise<Page<Descriptor>>;
}

/** The list of repositories. */
export interface Catalog {
  /** Repositories in component order (`/` before every other byte). */
  list(page: PageRequest): Promise<Page<RepositoryName>>;
}

/** Which part of a list is wanted. */
export interface PageRequest {
  /** Only what comes after this; it need not exist. */
  readonly last?: string;
  /** At most so many; undefined for all. */
  readonly limit?: number;
}

/** A part of a list. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Whether the list goes on after the last item. */
  readonly more: boolean;
}

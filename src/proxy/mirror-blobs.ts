import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import type { BlobContent, BlobInfo, Blobs, MountedBlob, OpenRequest } from "../registry/registry.ts";
import { BlobFill } from "./fill.ts";
import { askingUpstream, isUnknown, type Mirror, noteUpstreamError } from "./mirror.ts";
import type { MirrorRoute } from "./routes.ts";
import type { UpstreamBlob } from "./upstream.ts";
import { UpstreamError } from "./upstream-error.ts";

/** The blobs of a mirror: those that are kept are served like local ones, the others while they are fetched. */
export class MirrorBlobs implements Blobs {
  readonly #mirror: Mirror;
  /** What is on its way, by repository and digest; undefined inside when it turned out to be kept already. */
  readonly #fills = new Map<string, Promise<BlobFill | undefined>>();

  constructor(mirror: Mirror) {
    this.#mirror = mirror;
  }

  async stat(name: RepositoryName, digest: Digest): Promise<BlobInfo> {
    const { routes, local, traffic, usage } = this.#mirror;
    const route = routes.route(name);
    if (route.kind === "local") return await local.blobs.stat(name, digest);
    try {
      const info = await local.blobs.stat(route.repository, digest);
      traffic.hit("blob", 0);
      usage.blob(route, digest, info.sizeBytes);
      return info;
    } catch (error) {
      if (!isUnknown(error, "BLOB_UNKNOWN")) throw error;
    }
    return { digest, sizeBytes: await this.#sizeUpstream(route, digest) };
  }

  async open(name: RepositoryName, digest: Digest, request: OpenRequest): Promise<BlobContent> {
    const { routes, local, traffic, usage } = this.#mirror;
    const route = routes.route(name);
    if (route.kind === "local") return await local.blobs.open(name, digest, request);
    try {
      const content = await local.blobs.open(route.repository, digest, request);
      traffic.hit("blob", request.method === "GET" ? content.sizeBytes : 0);
      usage.blob(route, digest, content.sizeBytes);
      return content;
    } catch (error) {
      if (!isUnknown(error, "BLOB_UNKNOWN")) throw error;
    }
    return request.method === "HEAD" ? await this.#describe(route, digest) : await this.#fetch(route, digest, request);
  }

  async mount(name: RepositoryName, digest: Digest, from: Iterable<RepositoryName> | AsyncIterable<RepositoryName>): Promise<MountedBlob | undefined> {
    if (this.#mirror.routes.route(name).kind === "mirror") throw new RegistryError("UNSUPPORTED");
    return await this.#mirror.local.blobs.mount(name, digest, from);
  }

  async delete(name: RepositoryName, digest: Digest): Promise<void> {
    if (!this.#mirror.deleteEnabled || this.#mirror.routes.route(name).kind === "mirror") throw new RegistryError("UNSUPPORTED");
    await this.#mirror.local.blobs.delete(name, digest);
  }

  /** Whether a blob of a repository is being fetched. */
  isFetching(repository: RepositoryName, digest: Digest): boolean {
    return this.#fills.has(keyOf(repository, digest));
  }

  /** Waits for every fetch under way; they end by themselves when the mirror is told to close. */
  async drain(): Promise<void> {
    const fills = await Promise.allSettled(this.#fills.values());
    await Promise.allSettled(fills.map((fill) => (fill.status === "fulfilled" ? fill.value?.stored : undefined)));
  }

  /** What a client learns by HEAD; nothing is fetched unless it is read after all. */
  async #describe(route: MirrorRoute, digest: Digest): Promise<BlobContent> {
    const sizeBytes = await this.#sizeUpstream(route, digest);
    const open = async (offset: number, length: number): Promise<ReadableStream<Uint8Array>> => {
      const fill = await this.#fill(route, digest);
      return fill === undefined ? await this.#mirror.store.read(digest, { offset, length }) : fill.stream(offset, length);
    };
    return { kind: "stream", digest, sizeBytes, open };
  }

  async #sizeUpstream(route: MirrorRoute, digest: Digest): Promise<number> {
    const { missing, traffic } = this.#mirror;
    const fetching = await this.#fills.get(keyOf(route.repository, digest))?.catch(() => undefined);
    if (fetching?.sizeBytes !== undefined) return fetching.sizeBytes;
    return await this.#asking(route, digest, async () => {
      const sizeBytes = await missing.ask(`blob ${keyOf(route.repository, digest)}`, () => route.remote.upstream.statBlob(route.upstreamName, digest));
      traffic.miss("blob", 0);
      return sizeBytes;
    });
  }

  async #fetch(route: MirrorRoute, digest: Digest, request: OpenRequest): Promise<BlobContent> {
    return await this.#asking(route, digest, async () => {
      const fill = await this.#fill(route, digest);
      if (fill?.sizeBytes !== undefined) {
        this.#mirror.traffic.miss("blob", fill.sizeBytes);
        return { kind: "stream", digest, sizeBytes: fill.sizeBytes, open: async (offset, length) => fill.stream(offset, length) };
      }
      // Upstream does not say how much will come: the client is told when all of it is here.
      await fill?.stored;
      const content = await this.#mirror.local.blobs.open(route.repository, digest, request);
      this.#mirror.traffic.miss("blob", content.sizeBytes);
      return content;
    });
  }

  /** Joins the fetch that is under way, or begins one; undefined when the blob has been stored meanwhile. */
  async #fill(route: MirrorRoute, digest: Digest): Promise<BlobFill | undefined> {
    const key = keyOf(route.repository, digest);
    const running = this.#fills.get(key);
    if (running !== undefined) {
      const fill = await running;
      if (fill === undefined || fill.isJoinable) return fill;
    }
    const beginning = this.#fills.get(key);
    if (beginning !== undefined && beginning !== running) return await beginning;
    const begun = this.#begin(route, digest);
    this.#fills.set(key, begun);
    void this.#forgetWhenOver(route, digest, begun);
    return await begun;
  }

  async #begin(route: MirrorRoute, digest: Digest): Promise<BlobFill | undefined> {
    const { store, local, missing, traffic, clock, log, closing, hasher, buffers, unattendedMs, spoolFolder } = this.#mirror;
    const { repository } = route;
    // It may have been stored between the look that missed it and now.
    if (await isKept(() => local.blobs.stat(repository, digest))) return undefined;
    return await missing.ask(`blob ${keyOf(repository, digest)}`, async () => {
      if ((await store.storedSize(digest)) !== undefined) {
        // Another repository has brought it here: that upstream's repository has it, too, is all there is to know.
        await route.remote.upstream.statBlob(route.upstreamName, digest);
        await store.linkBlob(repository, digest);
        return undefined;
      }
      return await BlobFill.begin({
        digest,
        fetch: (options) => fetchBlob(route, digest, options),
        receive: (sizeBytes) => store.receive(repository, digest, sizeBytes),
        readStored: (range) => store.read(digest, range),
        spoolFolder,
        unattendedMs,
        closing,
        hasher,
        buffers,
        clock,
        log,
        onBytes: (bytes) => traffic.pulled("blob", bytes),
      });
    });
  }

  async #forgetWhenOver(route: MirrorRoute, digest: Digest, begun: Promise<BlobFill | undefined>): Promise<void> {
    // Whoever waits for the beginning is told when it fails.
    const fill = await begun.catch(() => undefined);
    try {
      await fill?.stored;
      if (fill?.sizeBytes !== undefined) this.#mirror.usage.blob(route, digest, fill.sizeBytes);
    } catch (error) {
      this.#noteFailure(route, digest, error);
    }
    const key = keyOf(route.repository, digest);
    if (this.#fills.get(key) === begun) this.#fills.delete(key);
  }

  #noteFailure(route: MirrorRoute, digest: Digest, error: unknown): void {
    if (error instanceof UpstreamError) return noteUpstreamError(this.#mirror, route, error);
    this.#mirror.log.error("mirrored blob cannot be stored", { repository: route.repository, digest, "err.message": error instanceof Error ? error.message : String(error) });
  }

  async #asking<T>(route: MirrorRoute, digest: Digest, work: () => Promise<T>): Promise<T> {
    return await askingUpstream({ mirror: this.#mirror, route, missing: { code: "BLOB_UNKNOWN", detail: digest } }, work);
  }
}

function keyOf(repository: RepositoryName, digest: Digest): string {
  return `${repository}@${digest}`;
}

/** Opens a blob upstream. Servers that send it in chunks without its size are asked for that beside. */
async function fetchBlob({ remote, upstreamName }: MirrorRoute, digest: Digest, options: { readonly offset: number; readonly signal: AbortSignal }): Promise<UpstreamBlob> {
  const blob = await remote.upstream.blob(upstreamName, digest, options);
  if (blob.sizeBytes !== undefined) return blob;
  const sizeBytes = await remote.upstream.statBlob(upstreamName, digest).catch(() => undefined);
  return { ...blob, sizeBytes };
}

async function isKept(look: () => Promise<unknown>): Promise<boolean> {
  try {
    await look();
    return true;
  } catch (error) {
    if (isUnknown(error, "BLOB_UNKNOWN")) return false;
    throw error;
  }
}

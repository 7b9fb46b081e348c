import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/errors.ts";
import type { RepositoryName } from "../oci/name.ts";
import type { AppendOptions, BlobInfo, ByteSource, UploadInfo, Uploads } from "../registry/registry.ts";
import type { Mirror } from "./mirror.ts";

/** Uploads to the repositories that are ours; a mirror takes none. */
export class MirrorUploads implements Uploads {
  readonly #mirror: Mirror;

  constructor(mirror: Mirror) {
    this.#mirror = mirror;
  }

  async start(name: RepositoryName, options?: Parameters<Uploads["start"]>[1]): Promise<UploadInfo> {
    return await this.#local(name).start(name, options);
  }

  async put(name: RepositoryName, body: ByteSource, digest: Digest): Promise<BlobInfo> {
    return await this.#local(name).put(name, body, digest);
  }

  async status(name: RepositoryName, id: string): Promise<UploadInfo> {
    return await this.#local(name).status(name, id);
  }

  async append(name: RepositoryName, id: string, ...rest: [body: ByteSource, options: AppendOptions]): Promise<UploadInfo> {
    return await this.#local(name).append(name, id, ...rest);
  }

  async finish(name: RepositoryName, id: string, ...rest: [body: ByteSource | undefined, options: AppendOptions & { readonly digest: Digest }]): Promise<BlobInfo> {
    return await this.#local(name).finish(name, id, ...rest);
  }

  async cancel(name: RepositoryName, id: string): Promise<void> {
    await this.#local(name).cancel(name, id);
  }

  /** @throws RegistryError UNSUPPORTED for a mirrored repository. */
  #local(name: RepositoryName): Uploads {
    if (this.#mirror.routes.route(name).kind === "mirror") throw new RegistryError("UNSUPPORTED");
    return this.#mirror.local.uploads;
  }
}
